package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

// issuedKeys are the content keys of an attempt: one for each output or, with
// key periods, one for each period, issued as the encode goes on.
type issuedKeys struct {
	a       *attempt
	options pipeline.Options

	mu     sync.Mutex
	fixed  map[string]keystore.Key         // by output
	period map[string]map[int]keystore.Key // by output and number
}

// issueKeys gets a content key for every output that has one for all of it:
// one key never serves two cipher modes. The first output of an asset's first
// publication owns the bare key URI, unless it has key periods; every other
// key is asked for by its KID.
func (a *attempt) issueKeys(ctx context.Context, options pipeline.Options, published bool) (*issuedKeys, error) {
	k := &issuedKeys{a: a, options: options, fixed: map[string]keystore.Key{}, period: map[string]map[int]keystore.Key{}}
	if !options.Encrypt {
		return k, nil
	}
	first := !published
	for _, output := range pipeline.Outputs {
		if !slices.Contains(options.Outputs, output) {
			continue
		}
		if options.ChangesKeys(output) {
			k.period[output] = map[int]keystore.Key{}
			first = false
			continue
		}
		key, err := k.issue(ctx, output, output, first)
		if err != nil {
			return nil, err
		}
		k.fixed[output], first = key, false
	}
	return k, nil
}

// issue gets the key of a track: the output's name or, of a period, with its
// number behind it.
func (k *issuedKeys) issue(ctx context.Context, output, track string, isDefault bool) (keystore.Key, error) {
	c := k.a.w.cfg
	req := keystore.Request{
		Hash: k.a.job.Hash, JobID: k.a.job.ID, Attempt: k.a.job.Attempt, Track: track,
		Scheme: k.options.SchemeOf(output), KeyURI: c.BaseURL + "/api/key/" + k.a.job.Hash, Default: isDefault,
	}
	if !isDefault {
		req.KeyURI += "?kid=" + keystore.KIDPlaceholder
	}
	key, err := c.Keys.Issue(ctx, req)
	if err != nil {
		return keystore.Key{}, fmt.Errorf("issue the content key of %s: %w", track, err)
	}
	return key, nil
}

// forPeriod is the pipeline's PeriodKey.
func (k *issuedKeys) forPeriod(ctx context.Context, output string, number int) (pipeline.Key, error) {
	key, err := k.issue(ctx, output, fmt.Sprintf("%s-p%04d", output, number), false)
	if err != nil {
		return pipeline.Key{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.period[output][number] = key
	return pipelineKey(key), nil
}

// stored is the pipeline's StoredKey.
func (k *issuedKeys) stored(ctx context.Context, kid cenc.KID) (cenc.ContentKey, error) {
	key, err := k.a.w.cfg.Keys.Get(ctx, k.a.job.Hash, kid)
	return key.Content, err
}

// count is how many keys were issued.
func (k *issuedKeys) count() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.fixed)
	for _, keys := range k.period {
		n += len(keys)
	}
	return int64(n)
}

// first gives the key of an output, of several the first one.
func (k *issuedKeys) first() map[string]keystore.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := map[string]keystore.Key{}
	for output, key := range k.fixed {
		keys[output] = key
	}
	for output, periods := range k.period {
		if key, ok := periods[1]; ok {
			keys[output] = key
		}
	}
	return keys
}

func pipelineKey(k keystore.Key) pipeline.Key {
	return pipeline.Key{KID: k.KID, Content: k.Content, URI: k.KeyURI}
}
