package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// maxLicenceKeys bounds the key ids of one licence request; a player asks for
// those of one initialization data at a time.
const maxLicenceKeys = 16

// licence is the answer that the Clear Key key system takes: a JSON Web Key
// Set (W3C Encrypted Media Extensions, 9.1.4).
type licence struct {
	Keys []licenceKey `json:"keys"`
	Type string       `json:"type"`
}

// licenceKey is an octet sequence key (RFC 7518, 6.4), its values in base64url
// without padding.
type licenceKey struct {
	Kty string `json:"kty"`
	K   string `json:"k"`
	KID string `json:"kid"`
}

// postLicence is the key route for EME players: the same keys under the same
// token and limits, by the Clear Key key system's own messages. It gives all
// the keys that were asked for, or none.
func (s *server) postLicence(w http.ResponseWriter, r *http.Request) error {
	return s.giveLicence(w, r, r.PathValue("hash"))
}

func (s *server) giveLicence(w http.ResponseWriter, r *http.Request, hash string) error {
	if err := s.limitKeys(r); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	kids, err := parseLicenceRequest(body)
	if err != nil {
		return err
	}
	keys := make([]keystore.Key, len(kids))
	for i, kid := range kids {
		if keys[i], err = s.viewerKey(r, hash, &kid); err != nil {
			return err
		}
	}
	if err := s.handOut(r, keys...); err != nil {
		return err
	}
	answer := licence{Type: licenceTemporary}
	for _, key := range keys {
		content := key.Content.Bytes()
		answer.Keys = append(answer.Keys, licenceKey{
			Kty: "oct", K: base64.RawURLEncoding.EncodeToString(content), KID: base64.RawURLEncoding.EncodeToString(key.KID[:]),
		})
		clear(content)
	}
	out, err := json.Marshal(answer)
	if err != nil {
		return internalError(fmt.Errorf("write the licence: %w", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	_, _ = w.Write(out)
	clear(out)
	return nil
}

// licenceTemporary is the only session type: nothing may be kept.
const licenceTemporary = "temporary"

// parseLicenceRequest reads the message that a browser makes of init data
// (W3C Encrypted Media Extensions, 9.1.3): {"kids": [...], "type": "temporary"}.
// Members that are not known are passed over, as later editions may have them.
// A key id twice counts once.
func parseLicenceRequest(body []byte) ([]cenc.KID, error) {
	members, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	if kind, given := members["type"]; given {
		var name string
		if err := json.Unmarshal(kind, &name); err != nil || name != licenceTemporary {
			return nil, invalidRequest(`type: the only session type is "temporary"`)
		}
	}
	var texts []string
	if err := json.Unmarshal(members["kids"], &texts); err != nil || len(texts) == 0 || len(texts) > maxLicenceKeys {
		return nil, invalidRequest(fmt.Sprintf("kids: want 1 to %d key ids in base64url", maxLicenceKeys))
	}
	var kids []cenc.KID
	for _, text := range texts {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(raw) != cenc.KeySize {
			return nil, invalidRequest("kids: a key id is 16 bytes in base64url without padding")
		}
		if kid := cenc.KID(raw); !slices.Contains(kids, kid) {
			kids = append(kids, kid)
		}
	}
	return kids, nil
}
