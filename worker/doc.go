// Package worker is the life of a job: a task comes in, an attempt runs, the
// outcome is published and recorded.
//
// Postgres is the truth, Redis is the doorbell. A queue message only says
// "look at this job"; losing one, or getting one twice, changes nothing.
//
//	     Submit, or adoption of a task from the queue
//	                       │ one transaction: job row + outbox row
//	                       ▼
//	┌────────────────── queued ◄──────────────────────────────┐
//	│ dispatcher:          │ doorbell "<job>:<dispatch_seq>"   │
//	│ outbox → asynq       ▼                                   │ dispatch_seq+1,
//	│                   Claim: attempt+1, lease 15 s           │ outbox row
//	│                      │                                   │
//	│                      ▼                                   │
//	│                   running ──── transient error ──────────┤ after a backoff
//	│                      │ │ └──── shutdown ────────────────┤ at once
//	│                      │ └────── lease expired (reaper) ───┘
//	│                      │
//	│    Publish (one      ├──── permanent error, or attempts used up
//	│    transaction)      ▼                  ▼
//	└──(cancel, later)─ succeeded           failed
//
// Every write of a running attempt is fenced: it names the attempt, and
// changes nothing when the row has another. An attempt that cannot reach the
// database for 11 s ends itself before its lease ends (lease.go).
//
// Where a failure goes is decided in verdict.go alone.
//
// What is told of all this to a job's callback_url is written by triggers on
// the row, in the transaction of each change (migrations, 00005), and brought
// to the receiver by the notifier (notify.go).
package worker
