package pipeline

import (
	"context"
	"fmt"
	"sync"
)

// maxPeriods bounds the content keys of one attempt.
const maxPeriods = 4096

// contentKeys are the keys of an attempt by output and, where the options ask
// for it, by key period: so many segments, the same in every rendition.
type contentKeys struct {
	options Options
	fixed   map[string]Key                                                    // by output
	issue   func(ctx context.Context, output string, period int) (Key, error) // with patience

	mu     sync.Mutex
	issued map[keyPeriod]Key
}

// keyPeriod names a period of an output; the first one is 1.
type keyPeriod struct {
	output string
	number int
}

func newContentKeys(req Request, dog *watchdog) *contentKeys {
	issue := func(ctx context.Context, output string, period int) (key Key, err error) {
		err = dog.retry(ctx, func(ctx context.Context) (err error) {
			key, err = req.PeriodKey(ctx, output, period)
			return err
		})
		if err != nil {
			return Key{}, transient(CodeKeyUnavailable, "a content key could not be issued", err)
		}
		return key, nil
	}
	return &contentKeys{options: req.Options, fixed: req.Keys, issue: issue, issued: map[keyPeriod]Key{}}
}

// of gives the key of a segment; the zero Key: it is clear. The first segment
// of a period has its key issued, and the others wait for it.
func (k *contentKeys) of(ctx context.Context, output string, segment int) (Key, error) {
	if !k.options.ChangesKeys(output) {
		return k.fixed[output], nil
	}
	p := keyPeriod{output, k.options.keyPeriod(segment)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.issued[p]; ok {
		return key, nil
	}
	key, err := k.issue(ctx, p.output, p.number)
	if err != nil {
		return Key{}, err
	}
	for other, seen := range k.issued {
		if seen.KID == key.KID {
			return Key{}, transient(CodeKeyUnavailable, "a content key was issued twice",
				fmt.Errorf("%s has the key of period %d again in period %d", output, other.number, p.number))
		}
	}
	k.issued[p] = key
	return key, nil
}

// periods returns how many keys an output got.
func (k *contentKeys) periods(output string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range k.issued {
		if p.output == output {
			n++
		}
	}
	return n
}

// ChangesKeys says whether an output has key periods.
func (o Options) ChangesKeys(output string) bool {
	return o.Encrypt && o.KeyPeriodSeconds > 0 && formats[output].sealed
}

// segmentsPerKey is how many segments a key period has: as many as fit.
func (o Options) segmentsPerKey() int { return max(1, o.KeyPeriodSeconds/o.SegmentSeconds) }

// keyPeriod gives the period of a segment; both count from 1.
func (o Options) keyPeriod(segment int) int { return (segment-1)/o.segmentsPerKey() + 1 }

// beginsPeriod says whether a segment is the first under its key.
func (o Options) beginsPeriod(output string, segment int) bool {
	return o.ChangesKeys(output) && (segment-1)%o.segmentsPerKey() == 0
}

// checkPeriods refuses a wish for more keys than an attempt may have.
func (o Options) checkPeriods(segments int) error {
	periods := 0
	for _, output := range o.Outputs {
		if o.ChangesKeys(output) {
			periods += o.keyPeriod(max(1, segments))
		}
	}
	if periods <= maxPeriods {
		return nil
	}
	return permanent(CodeOptionsInvalid, fmt.Sprintf(
		"options.key_period_seconds is %d: that makes %d content keys of this source, the most is %d", o.KeyPeriodSeconds, periods, maxPeriods), nil)
}
