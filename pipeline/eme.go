package pipeline

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
)

// Players that decrypt by W3C Encrypted Media Extensions ask a licence server,
// not a key URI. For them the cmaf output has a second set of playlists over the
// same segments, and the MPD names the server.

// The names of the second set: the multivariant playlist, and a rendition's
// media playlist.
const (
	masterEME   = "eme.m3u8"
	playlistEME = "eme.m3u8"
)

// keyFormatClearKey is the KEYFORMAT that EME players know W3C Clear Key by.
const keyFormatClearKey = "org.w3.clearkey"

// splitKeys gives the two playlists behind the packager's: one with the key
// that the key route gives (KEYFORMAT identity; RFC 8216bis, 5.1) and no other,
// and one for EME players with the licence server and, as the packager wrote
// them, the keys of DRM systems. KEYID is no attribute of the RFC; clients pass
// over what they do not know (6.3.1), and those that know it need not wait for
// the init segment.
func splitKeys(playlist []byte, p *protection, licenceURI string) (identity, eme []byte) {
	var ours, theirs bytes.Buffer
	for line := range strings.Lines(string(playlist)) {
		switch {
		case !strings.HasPrefix(line, "#EXT-X-KEY:"):
			ours.WriteString(line)
			theirs.WriteString(line)
		case strings.Contains(line, `KEYFORMAT="identity"`):
			ours.WriteString(line)
			line = strings.Replace(line, `URI="`+p.key.URI+`"`, `URI="`+licenceURI+`",KEYID=0x`+p.key.KID.String(), 1)
			theirs.WriteString(strings.Replace(line, `KEYFORMAT="identity"`, `KEYFORMAT="`+keyFormatClearKey+`",KEYFORMATVERSIONS="1"`, 1))
		default:
			theirs.WriteString(line)
		}
	}
	return ours.Bytes(), theirs.Bytes()
}

// withSessionKeys adds an EXT-X-SESSION-KEY (RFC 8216bis, 4.4.6.5) for each
// EXT-X-KEY of a media playlist, so that players fetch the keys before they
// choose a variant. The IV differs from rendition to rendition and is left out.
func withSessionKeys(master, media []byte) []byte {
	var tags strings.Builder
	for line := range strings.Lines(string(media)) {
		if attributes, ok := strings.CutPrefix(line, "#EXT-X-KEY:"); ok {
			tags.WriteString("#EXT-X-SESSION-KEY:" + ivAttribute.ReplaceAllString(attributes, ""))
		}
	}
	const after = "#EXT-X-INDEPENDENT-SEGMENTS\n"
	return bytes.Replace(master, []byte(after), []byte(after+tags.String()), 1)
}

var ivAttribute = regexp.MustCompile(`,IV=0x[0-9a-f]+`)

// multivariantEME is the multivariant playlist that leads to the media
// playlists for EME players.
func multivariantEME(master []byte) []byte {
	master = bytes.ReplaceAll(master, []byte("/"+playlistIFrames), []byte("/"+playlistIFramesEME))
	return bytes.ReplaceAll(master, []byte("/index.m3u8"), []byte("/"+playlistEME))
}

const (
	// systemClearKey is W3C Clear Key in DASH-IF's list of system ids.
	systemClearKey = "urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e"
	// namespaceCPS has the element Laurl (DASH-IF IOP 5, part 6).
	namespaceCPS = "https://dashif.org/CPS"
)

var commonProtection = regexp.MustCompile(`(?s)<ContentProtection schemeIdUri="urn:uuid:` + commonSystem + `">.*?</ContentProtection>`)

// signalClearKey makes an MPD name the licence server in the place of the
// common system, which is no key system of any browser. The init segments keep
// the common system's initialization data: licence requests are made of it.
func signalClearKey(mpd []byte, licenceURI string) ([]byte, error) {
	var uri bytes.Buffer
	if err := xml.EscapeText(&uri, []byte(licenceURI)); err != nil {
		return nil, err
	}
	const cenc = ` xmlns:cenc="urn:mpeg:cenc:2013"`
	sets := bytes.Count(mpd, []byte("<AdaptationSet "))
	if len(commonProtection.FindAllIndex(mpd, -1)) != sets || bytes.Count(mpd, []byte(cenc)) != 1 {
		return nil, fmt.Errorf("the manifest does not protect each of its %d adaptation sets once by the common system", sets)
	}
	element := `<ContentProtection schemeIdUri="` + systemClearKey + `" value="ClearKey1.0"><dashif:Laurl licenseType="EME-1.0">` + uri.String() + `</dashif:Laurl></ContentProtection>`
	mpd = bytes.Replace(mpd, []byte(cenc), []byte(cenc+` xmlns:dashif="`+namespaceCPS+`"`), 1)
	return commonProtection.ReplaceAllLiteral(mpd, []byte(element)), nil
}
