package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

// Bucket is the media bucket as the collector sees it; internal/objstore has it.
type Bucket interface {
	Folders(ctx context.Context, prefix string) iter.Seq2[string, error]
	List(ctx context.Context, prefix string) ([]pipeline.ObjectInfo, error)
	Delete(ctx context.Context, key string) error
}

// PendingShredder destroys keys that were never published; keystore.Postgres has it.
type PendingShredder interface {
	ShredPending(ctx context.Context, jobID string, upTo int) (int64, error)
}

// CollectorConfig is what a Collector needs. Zero durations mean the default.
type CollectorConfig struct {
	Store   *JobStore
	Media   Bucket
	Keys    PendingShredder
	DryRun  bool // look and count, remove nothing
	Metrics *CollectorMetrics
	Log     *slog.Logger

	Every     time.Duration // between rounds, 1 h
	Grace     time.Duration // a job has ended for so long before its leavings go, 1 h
	Retention time.Duration // a generation is retired for so long before it goes, 30 days
}

// Collector removes what nobody will ask for: the objects of attempts that
// were not published, of generations that were replaced long ago, and the keys
// of dead attempts, which would hold back a KEK version.
//
// Postgres decides. An attempt is dead once its job has ended: no later one
// writes below its prefix. One that lost its lease may go on uploading for some
// seconds; the grace time is for that, and what comes even later goes in the
// next round. A folder that no job here accounts for is left alone.
type Collector struct{ cfg CollectorConfig }

// NewCollector returns a collector that does nothing until Run or Once.
func NewCollector(cfg CollectorConfig) *Collector {
	setDefault(&cfg.Every, time.Hour)
	setDefault(&cfg.Grace, time.Hour)
	setDefault(&cfg.Retention, 30*24*time.Hour)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewCollectorMetrics(nil)
	}
	return &Collector{cfg}
}

// Garbage is one folder that goes.
type Garbage struct {
	Prefix  string // stream/<hash>/<prefix>/
	Why     string // WhyDead or WhyRetired
	Objects int
	Bytes   int64
}

// Why a folder goes.
const (
	WhyDead    = "dead attempt"
	WhyRetired = "retired generation"
)

// Collected is what a round removed or, without leave to, would have removed.
type Collected struct {
	Folders, Objects int
	Bytes            int64
	Keys             int64
	Foreign          int // folders that no job accounts for
}

// ErrCollecting tells that another process collects right now.
var ErrCollecting = errors.New("another garbage collection is running")

// Run collects again and again until ctx ends, and returns nil then.
func (c *Collector) Run(ctx context.Context) error {
	for {
		sum, err := c.Once(ctx, func(g Garbage) {
			c.cfg.Log.Info("garbage", "prefix", g.Prefix, "why", g.Why, "objects", g.Objects, "bytes", g.Bytes, "dry_run", c.cfg.DryRun)
		})
		switch {
		case ctx.Err() != nil, errors.Is(err, ErrCollecting):
		case err != nil:
			c.cfg.Log.Error("garbage collection", "error", err)
		default:
			c.cfg.Log.Info("garbage collected", "dry_run", c.cfg.DryRun, "folders", sum.Folders, "objects", sum.Objects,
				"bytes", sum.Bytes, "keys", sum.Keys, "foreign_folders", sum.Foreign)
		}
		if !sleep(ctx, c.cfg.Every) {
			return nil
		}
	}
}

// Once does one round and tells each of every folder that goes. ErrCollecting.
func (c *Collector) Once(ctx context.Context, each func(Garbage)) (sum Collected, err error) {
	unlock, err := c.cfg.Store.lockSession(ctx, lockCollector)
	if err != nil {
		return sum, err
	}
	defer unlock()
	if err := c.folders(ctx, &sum, each); err != nil {
		return sum, fmt.Errorf("collect objects: %w", err)
	}
	if err := c.keys(ctx, &sum); err != nil {
		return sum, fmt.Errorf("collect keys: %w", err)
	}
	c.cfg.Metrics.round(sum, c.cfg.DryRun)
	return sum, nil
}

// collectBatch is for how many assets Postgres is asked at once.
const collectBatch = 100

func (c *Collector) folders(ctx context.Context, sum *Collected, each func(Garbage)) error {
	seen := map[string][]string{} // folders by asset
	for hash, err := range c.cfg.Media.Folders(ctx, "stream/") {
		if err != nil {
			return err
		}
		if !cenc.IsHash(hash) {
			sum.Foreign++
			continue
		}
		for folder, err := range c.cfg.Media.Folders(ctx, "stream/"+hash+"/") {
			if err != nil {
				return err
			}
			seen[hash] = append(seen[hash], folder)
		}
		if len(seen) == collectBatch {
			if err := c.batch(ctx, seen, sum, each); err != nil {
				return err
			}
			clear(seen)
		}
	}
	return c.batch(ctx, seen, sum, each)
}

// batch judges folders that were listed before Postgres is asked: what starts
// now is not among them.
func (c *Collector) batch(ctx context.Context, seen map[string][]string, sum *Collected, each func(Garbage)) error {
	fates, err := c.cfg.Store.fates(ctx, seen, c.cfg.Grace, c.cfg.Retention)
	if err != nil {
		return err
	}
	for hash, folders := range seen {
		for _, folder := range folders {
			fate, known := fates[folder]
			if !known {
				sum.Foreign++
			}
			if fate != WhyDead && fate != WhyRetired {
				continue
			}
			if err := c.remove(ctx, hash, folder, fate, sum, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Collector) remove(ctx context.Context, hash, folder, why string, sum *Collected, each func(Garbage)) error {
	g := Garbage{Prefix: pipeline.KeyPrefix(hash, folder), Why: why}
	objects, err := c.cfg.Media.List(ctx, g.Prefix)
	if err != nil {
		return err
	}
	for _, o := range objects {
		g.Objects++
		g.Bytes += o.Size
	}
	if !c.cfg.DryRun {
		if why == WhyRetired { // nobody is sent to an object that is not there
			if gone, err := c.cfg.Store.retire(ctx, folder); err != nil || !gone {
				return err
			}
		}
		if err := c.delete(ctx, objects); err != nil {
			return err
		}
	}
	sum.Folders++
	sum.Objects += g.Objects
	sum.Bytes += g.Bytes
	each(g)
	return nil
}

func (c *Collector) delete(ctx context.Context, objects []pipeline.ObjectInfo) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, o := range objects {
		group.Go(func() error { return c.cfg.Media.Delete(ctx, o.Key) })
	}
	return group.Wait()
}

func (c *Collector) keys(ctx context.Context, sum *Collected) error {
	after := ""
	for {
		dead, err := c.cfg.Store.deadKeys(ctx, c.cfg.Grace, after, collectBatch)
		if err != nil || len(dead) == 0 {
			return err
		}
		for _, d := range dead {
			n := d.Keys
			if !c.cfg.DryRun {
				if n, err = c.cfg.Keys.ShredPending(ctx, d.JobID, d.Attempt); err != nil {
					return err
				}
			}
			sum.Keys += n
			after = d.JobID
		}
	}
}
