// Package keystore keeps content keys at rest.
//
//	KEK version (32 bytes, configured) ── seals ──► content key (16 bytes) ── encrypts ──► segments
//	        │ one is primary                              │ one per job, attempt and output
//	        ▼                                             ▼
//	   kek_versions                                  content_keys
//	   (check value, wraps)                          pending ─► active ─► retiring ─► revoked ─► shredded
//	                                             every state ─► shredded, when the asset is deleted
//
// Rows are insert-only: the key of a row never changes, so a playlist always
// gets the key it was packaged with. A key is pending until the transaction
// that publishes its attempt activates it; only active and retiring keys are
// served. A shredded row has no key any more; backups of the database keep what
// they hold. New keys are sealed under the primary KEK version, old ones open
// with the version that sealed them.
//
// One key never serves two schemes: every output of an attempt has a key of
// its own, and the scheme is bound into the seal.
package keystore
