package pipeline

import (
	"slices"
	"strings"

	"github.com/sealcast/sealcast/internal/cenc"
)

// The outputs, in the order in which they claim the asset's bare key URI.
const (
	OutputCMAF       = "cmaf"        // fMP4 segments, HLS and DASH; cbcs or cenc when encrypted
	OutputCMAFAES128 = "cmaf-aes128" // fMP4 segments, HLS; AES-128 full segments, always encrypted
	OutputTS         = "ts"          // MPEG-TS segments, HLS; AES-128 full segments when encrypted
)

// Outputs lists every output in order of precedence.
var Outputs = []string{OutputCMAF, OutputCMAFAES128, OutputTS}

// defaultOutputs are made when a request does not choose.
var defaultOutputs = []string{OutputCMAF, OutputTS}

// The containers of segments.
const (
	containerMP4 = "fmp4"
	containerTS  = "mpegts"
)

// format is how an output is packaged.
type format struct {
	container string
	master    string // object name of the multivariant playlist
	manifest  string // of the MPD; empty: none
	// sealed outputs are encrypted here, segment by segment and whole
	// (RFC 8216, 4.3.2.4), for the packager cannot; the others by the packager,
	// sample by sample (ISO/IEC 23001-7).
	sealed bool
}

var formats = map[string]format{
	OutputCMAF:       {container: containerMP4, master: masterCMAF, manifest: manifestCMAF},
	OutputCMAFAES128: {container: containerMP4, master: masterCMAFAES128, sealed: true},
	OutputTS:         {container: containerTS, master: masterTS, sealed: true},
}

// SchemeOf returns the protection scheme that an output has when it is
// encrypted.
func (o Options) SchemeOf(output string) cenc.Scheme {
	switch {
	case formats[output].sealed:
		return cenc.SchemeAES128
	case o.Scheme == string(cenc.SchemeCENC):
		return cenc.SchemeCENC
	}
	return cenc.SchemeCBCS
}

// The DRM systems whose initialization data options.pssh may ask for, by the
// packager's names (DASH-IF's list of system ids).
var drmSystems = map[string]drmSystem{
	"widevine":  {flag: "Widevine", id: "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"},
	"playready": {flag: "PlayReady", id: "9a04f079-9840-4286-ab92-e65be0885f95"},
}

type drmSystem struct {
	flag string // of the packager's --protection_systems
	id   string // UUID
}

// DRMSystems lists the names that options.pssh takes, in their fixed order.
func DRMSystems() []string { return []string{"widevine", "playready"} }

// protectionSystems returns the packager's names of the systems whose
// initialization data init segments carry: the common one always.
func protectionSystems(pssh []string) string {
	flags := []string{"CommonSystem"}
	for _, name := range DRMSystems() {
		if slices.Contains(pssh, name) {
			flags = append(flags, drmSystems[name].flag)
		}
	}
	return strings.Join(flags, ",")
}
