// Package corpus makes bad and odd input for the tests of every room that takes
// bytes from strangers: sources, job payloads, webhook targets, raw requests.
// Nothing of it is stored: each case is made from a few clips that ffmpeg makes
// anew, and states what must become of it. The tables are data; the tests of
// the rooms (corpus_test.go there) put them through the real thing.
package corpus

// The kinds of what must become of a source.
const (
	// Pass: a presentation that passed the gate and decodes.
	Pass = "pass"
	// Any: Pass, or an error of the closed set of codes; never a hang, a panic
	// or something half published. For damage whose effect is luck.
	Any = "any"
)

// Medium is a source and what must become of it.
type Medium struct {
	Name string
	// Key is the object key's last part; empty: "bad.mp4".
	Key  string
	Body []byte
	// Want is Pass, Any or the code of a permanent error. Two codes with a bar
	// between them: which one it is differs between versions of ffmpeg.
	Want string
	// Frames that the largest rendition of a source that passes has; 0: not said.
	Frames int64
	// Audio is how many audio tracks a source that passes has; −1: not said.
	Audio int

	// Legal: no damage and no malice. It passes, every output of it is accepted by
	// a strict client, and sound and picture stay together.
	Legal bool
	// Flashes and beeps of a legal source (see picture), at least, in each
	// rendition. 0: they are not measured, and Unmeasured says why.
	Flashes    int
	Unmeasured string
	// Lag is how many seconds after its flash a beep comes, by the source's own clock.
	Lag float64
	// Width and Height of the picture at 240p; 0: not said.
	Width, Height int
	// Look: times at which the picture at 240p must be the source's.
	Look []string
}

// Canary is what hostile sources lead to: nobody may connect to its URL or
// open its file.
type Canary struct {
	URL  string // http://host:port, without a path
	File string // an absolute path
}

// Payload is a job payload and what must become of it.
type Payload struct {
	Name string
	Type string // of the task
	Body string
	// Code that the strict decode refuses with; empty: it is taken.
	Code string
	// Status and Problem are the API's answer to the same members with the type
	// among them.
	Status  int
	Problem string
}

// Request is raw bytes for the API's port and what must come back.
type Request struct {
	Name string
	Wire string
	// Status of each answer, in order; the connection is then silent or closed.
	Status []int
}

// Target is a webhook's URL that is judged with an empty allow-list.
type Target struct {
	URL  string
	Take bool
}
