// Package access decides who may watch: it holds a verified token against the
// title that is asked for, in Postgres and in a view of it in memory.
//
//	Store   signing keys, playback keys, API keys, minted tokens, revocations: SQL
//	Gate    Authorize, one function for every route, and Inspect, which is the
//	        same and tells each check
//	view    what Gate believes: signing keys and revocations whole, playback keys
//	        as they are asked for. Triggers write every change to access_changes;
//	        NOTIFY and a look each second bring it here. A view that could not be
//	        refreshed for 30 s is not believed any more: ErrUnavailable.
//
// The order of checks, and the refusal of each:
//
//	size, encoding, header, signing_key, signature, claims, times, max_ttl,
//	issuer, wildcard      package token
//	revocation            token_revoked
//	subject               token_mismatch, whether or not the other title exists
//	environment           scope_not_allowed; after the subject, so that it tells nothing about others
//	playback_key          playback_key_revoked, playback_key_inactive, token_ttl_exceeded
//	audience              insufficient_scope
//	ip, referer           ip_denied, referer_denied: the claims' and the policy's, both
//
// Nothing about a title is looked up before the signature has passed, but
// whether a playback key is public when there is no token at all.
package access
