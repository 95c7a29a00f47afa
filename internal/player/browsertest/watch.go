package browsertest

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"time"
)

// View is what a tool had on its picture at a time of the title, as it tells it.
type View struct {
	At    time.Duration
	Image image.Image
	Fresh bool      // after its first token has ended
	Wall  time.Time // when it was seen; zero: the tool does not play in real time
}

// ErrChange says that the tool does not go to another rendition while it plays.
var ErrChange = errors.New("it does not go to another rendition")

// Renew ends the token that a tool was given and returns the same title with
// another one.
type Renew func(context.Context) (Media, error)

// Watch plays a title, goes to another rendition and back to the first one while
// it plays (else: ErrChange) and, unless renew is nil, on with a fresh token from
// where it is. No tool takes a token while it plays: each loads the title anew at
// that place.
func (t Tool) Watch(ctx context.Context, m Media, renew Renew, dir string) ([]View, error) {
	if err := folder(dir); err != nil {
		return nil, err
	}
	views, err := t.watch(ctx, m, renew, dir)
	if ctx.Err() != nil {
		err = errors.Join(errors.New("it did not come to an end in time"), err)
	}
	if err != nil {
		return views, fmt.Errorf("%s, other renditions: %w; seen %s", t.Name, err, Phases(views))
	}
	return views, nil
}

// GoOnViews are how many pictures a tool shows with a fresh token at least, and
// goOn for how long it plays on with it.
const (
	GoOnViews = 3
	goOn      = 2 * time.Second
)

// changed counts how often the picture came in another size.
func changed(views []View) (n int) {
	for i := 1; i < len(views); i++ {
		if views[i].Image.Bounds().Dy() != views[i-1].Image.Bounds().Dy() {
			n++
		}
	}
	return n
}

// Phases tells in words what was seen.
func Phases(views []View) string {
	var parts []string
	for i, v := range views {
		name := fmt.Sprintf("height %d", v.Image.Bounds().Dy())
		if v.Fresh {
			name += " with a fresh token"
		}
		if n := len(parts) - 1; i > 0 && strings.HasPrefix(parts[n], name+" from") {
			from, _, _ := strings.Cut(parts[n], " to ")
			parts[n] = fmt.Sprintf("%s to %s", from, v.At)
			continue
		}
		parts = append(parts, fmt.Sprintf("%s from %s to %s", name, v.At, v.At))
	}
	return strings.Join(parts, ", ")
}
