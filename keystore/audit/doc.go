// Package audit is the record of who got which key and who changed what: one
// chain of entries in Postgres, each with a hash over the one before.
//
//	mutation ── its own transaction ──► Append ─┐
//	key read, refusal ──► Journal.Record        ├─► audit_entries, audit_head
//	      (memory, bounded) ── batches ─────────┘        │ every few minutes
//	                                                     ▼
//	                                     anchor: the head's place and hash, in the object store
//
// Who changes, removes, adds or exchanges a row breaks the chain from there on,
// and Verify names the row. Who can write the database can also compute the
// whole chain anew; the anchors are against that: each is a moment's head, kept
// where the database's administrator cannot write.
//
// A change is in the chain in the transaction that makes it. A key that is read
// is handed out once its entry is queued; the queue is written several times a
// second, so a process that is killed may lose the last fraction of one. A
// queue that is full, because the database is away, hands nothing out.
package audit
