package cenc

// IsHash reports whether s is an asset's hash: the SHA-256 of its source as 64
// lower-case hex digits.
func IsHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
