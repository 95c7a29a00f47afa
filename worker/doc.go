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
//	│ Cancel               │
//	│    Publish (one      ├──── permanent error, or attempts used up
//	│    transaction)      ▼                  ▼
//	│                   succeeded           failed
//	└───► cancelled ◄─── Cancel of a running job
//
//	failed, cancelled ── Retry, or the same task again ──► queued, dispatch_seq+1
//
// Cancel takes the row, and with it the fence; the worker hears of it by NOTIFY
// (listen.go), or by its next heartbeat, and kills the children. Publish and
// Cancel want the same row: exactly one finds it running. A new attempt on the
// asset may start while children of a cancelled one still die: they share no
// prefix, no key and no row, and nothing refers to what the dead one wrote.
//
// Every write of a running attempt is fenced: it names the attempt, and
// changes nothing when the row has another. An attempt that cannot reach the
// database for 11 s ends itself before its lease ends (lease.go).
//
// A repeated identical request is the same job while that waits, runs or has
// made the asset's current publication. A task under the id of a failed or
// cancelled job starts it again; one that asynq brings twice does not
// (readopt.go). What attempts leave behind, collect.go removes.
//
// Deleting an asset (deletion.go) cancels its queued and running jobs, so its
// attempts are fenced, and leaves its objects to the Remover.
//
// A lease ends early when its worker is known to be dead: a worker that starts
// looks for those of its host whose lock in Postgres nobody holds (presence.go).
//
// Where a failure goes is decided in verdict.go alone.
//
// What is told of all this to a job's callback_url is written by triggers on
// the row, in the transaction of each change (migrations, 00005), and brought
// to the receiver by the notifier (notify.go).
package worker
