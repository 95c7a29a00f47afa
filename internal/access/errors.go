package access

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that a playback key, signing key, API key or revocation
	// does not exist, or not any more.
	ErrNotFound = errors.New("not found")
	// ErrTokenRequired says that there is no token and the playback key is not
	// public, or does not exist.
	ErrTokenRequired = errors.New("a token is required")
	// ErrUnavailable says that Postgres does not answer, or has not for so long
	// that a revocation could have been missed.
	ErrUnavailable = errors.New("access: the database does not answer")
	// ErrExists says that an id is taken.
	ErrExists = errors.New("the id is taken")
	// ErrAssetNotFound says that nobody knows the asset.
	ErrAssetNotFound = errors.New("asset not found")
)

// InvalidError says what is wrong with a request; fit for strangers.
type InvalidError struct{ Member, Wrong string }

// Error implements error.
func (e InvalidError) Error() string { return e.Member + ": " + e.Wrong }

func invalid(member, format string, args ...any) error {
	return InvalidError{member, fmt.Sprintf(format, args...)}
}
