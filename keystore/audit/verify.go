package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Report is what Verify found.
type Report struct {
	Chain    string // names the chain, 16 hex digits
	Entries  int64  // that are good, from the first on
	Head     string // hex
	Anchors  int    // of this chain
	Anchored int64  // the highest entry that an anchor vouches for
	Bad      *BadEntry

	// Foreign counts the anchors of other chains, by chain: of another database,
	// or of this one before somebody replaced its whole trail, genesis and all.
	// What the database holds cannot tell which, so a trail is as it was written
	// only if somebody vouches for each of these chains.
	Foreign map[string]int
}

// BadEntry is the first place where the chain does not hold.
type BadEntry struct {
	Seq int64
	Why string
}

func (b BadEntry) Error() string { return fmt.Sprintf("entry %d: %s", b.Seq, b.Why) }

// Verify walks the chain from its first entry to the head, in one snapshot, and
// holds the anchors against it. anchors may be nil. progress is told, now and
// then, how many entries of how many are done. A chain that does not hold is no
// error: the report names its first bad entry.
func Verify(ctx context.Context, pool *pgxpool.Pool, anchors Anchors, progress func(done, all int64)) (rep Report, err error) {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return rep, fmt.Errorf("verify the audit trail: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	h, genesis, _, err := readHead(ctx, tx)
	if err != nil {
		return rep, err
	}
	rep.Chain = h.Chain
	v := verifier{report: &rep, prev: genesis, head: h, progress: progress}
	if anchors != nil {
		// Listed after the snapshot, so that one of a later head may be among them.
		if err := v.readAnchors(ctx, anchors); err != nil {
			return rep, err
		}
	}
	if err := v.walk(ctx, tx); err != nil {
		return rep, fmt.Errorf("verify the audit trail: %w", err)
	}
	v.end(ctx, pool)
	rep.Head = hex.EncodeToString(v.prev[:])
	return rep, nil
}

type anchor struct {
	seq  int64
	hash string
}

type verifier struct {
	report   *Report
	prev     [32]byte // hash of the last good entry
	head     head
	anchors  []anchor // by seq, those that are not reached yet
	progress func(done, all int64)
}

func (v *verifier) readAnchors(ctx context.Context, anchors Anchors) error {
	keys, err := anchors.AnchorKeys(ctx, AnchorFolder)
	if err != nil {
		return fmt.Errorf("read the anchors of the audit trail: %w", err)
	}
	for _, key := range keys {
		seq, hash, ok := parseAnchor(key)
		switch {
		case !ok:
		case strings.HasPrefix(key, AnchorFolder+v.head.Chain+"/"):
			v.anchors = append(v.anchors, anchor{seq, hash})
		default:
			if v.report.Foreign == nil {
				v.report.Foreign = map[string]int{}
			}
			v.report.Foreign[path.Base(path.Dir(key))]++
		}
	}
	v.report.Anchors = len(v.anchors)
	slices.SortFunc(v.anchors, func(a, b anchor) int { return int(a.seq - b.seq) })
	return nil
}

const progressEvery = 5000 // entries

// walk checks each entry against the one before, until one does not fit.
func (v *verifier) walk(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT seq, at, actor, action, subject, details::text, hash
		FROM audit_entries ORDER BY seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		var sum []byte
		if err := rows.Scan(&r.seq, &r.at, &r.actor, &r.action, &r.subject, &r.details, &sum); err != nil {
			return err
		}
		if why := v.check(&r, sum); why != "" {
			v.bad(v.report.Entries+1, why)
			return nil
		}
		v.report.Entries++
		if v.progress != nil && v.report.Entries%progressEvery == 0 {
			v.progress(v.report.Entries, v.head.Seq)
		}
	}
	return rows.Err()
}

// check says why r is not the next entry of the chain; empty: it is.
func (v *verifier) check(r *row, sum []byte) string {
	want := r.chain(v.prev)
	switch next := v.report.Entries + 1; {
	case r.seq != next:
		return fmt.Sprintf("it is missing; entry %d comes next", r.seq)
	case r.seq > v.head.Seq:
		return fmt.Sprintf("it is behind the head of the chain, which is entry %d: somebody inserted it past the chain", v.head.Seq)
	case !bytes.Equal(sum, want[:]):
		return "its hash does not follow from its content and the entry before: it was changed, or another one stood here"
	}
	v.prev = want
	for len(v.anchors) > 0 && v.anchors[0].seq <= r.seq {
		if a := v.anchors[0]; a.hash != hex.EncodeToString(want[:]) {
			return "an anchor in the object store has another hash for it: the chain was computed anew"
		}
		v.report.Anchored = r.seq
		v.anchors = v.anchors[1:]
	}
	return ""
}

// end looks for what is missing at the end of the chain.
func (v *verifier) end(ctx context.Context, db querier) {
	if v.report.Bad != nil {
		return
	}
	next := v.report.Entries + 1
	if v.head.Seq >= next {
		v.bad(next, fmt.Sprintf("it is missing; the chain went on to entry %d", v.head.Seq))
		return
	}
	if v.head.Seq > 0 && v.head.Hash != hex.EncodeToString(v.prev[:]) {
		v.bad(v.head.Seq, "its hash is not that of the chain's head")
		return
	}
	// An anchor past the snapshot is one that was written meanwhile, if the
	// chain has grown to it.
	if len(v.anchors) == 0 {
		return
	}
	last := v.anchors[len(v.anchors)-1].seq
	if now, _, _, err := readHead(ctx, db); err != nil || now.Seq < last {
		v.bad(next, fmt.Sprintf("it is missing; an anchor in the object store is of entry %d", last))
	}
}

func (v *verifier) bad(seq int64, why string) { v.report.Bad = &BadEntry{seq, why} }
