package localstacktest

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/redis/go-redis/v9"
)

// redisDatabases hands out database numbers. The stack's Redis has 64; 0 is
// left to whoever looks around by hand.
var redisDatabases = func() chan int {
	numbers := make(chan int, 63)
	for n := 1; n <= cap(numbers); n++ {
		numbers <- n
	}
	return numbers
}()

// RedisURL is the URL of an empty Redis database (a number in the path) that no
// other test has until this one ends.
func RedisURL(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(Stack(t).RedisURL)
	if err != nil {
		t.Fatal("localstacktest: the stack has no usable Redis URL")
	}
	var number int
	select {
	case number = <-redisDatabases:
	case <-t.Context().Done():
		t.Fatal("localstacktest: every Redis database is in use")
	}
	u.Path = fmt.Sprintf("/%d", number)
	atEnd(t, "flush Redis database", func(ctx context.Context) error {
		if err := flush(ctx, u.String()); err != nil {
			return err // and the number is not given to another test
		}
		redisDatabases <- number
		return nil
	})
	return u.String()
}

func flush(ctx context.Context, rawURL string) error {
	options, err := redis.ParseURL(rawURL)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	return client.FlushDB(ctx).Err()
}
