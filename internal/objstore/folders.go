package objstore

import (
	"context"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Folders gives the names directly below a prefix that other keys lie below,
// in the store's order, page by page. It ends with the first error.
func (b *Bucket) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for info := range b.api.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix}) {
			if info.Err != nil {
				yield("", wrap("list", prefix, info.Err))
				return
			}
			name, folder := strings.CutSuffix(strings.TrimPrefix(info.Key, prefix), "/")
			if folder && !yield(name, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield("", wrap("list", prefix, err))
		}
	}
}
