package pipeline

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/sealcast/sealcast/internal/cenc"
)

// protection is how the packager encrypts an output, sample by sample.
type protection struct {
	key    Key
	scheme cenc.Scheme
	pssh   []string // as Options.PSSH
}

// protectionOf returns how the packager encrypts an output with a key; nil: it
// leaves it clear.
func (o Options) protectionOf(output string, key Key) *protection {
	if key.KID.IsZero() || formats[output].sealed {
		return nil
	}
	return &protection{key: key, scheme: o.SchemeOf(output), pssh: o.PSSH}
}

// method is the METHOD of EXT-X-KEY: RFC 8216bis, 4.4.4.4, knows SAMPLE-AES
// for cbcs and SAMPLE-AES-CTR for cenc.
func (p *protection) method() string {
	if p.scheme == cenc.SchemeCENC {
		return "SAMPLE-AES-CTR"
	}
	return "SAMPLE-AES"
}

// checkProtection compares what the init segment's boxes say with the key: KID
// and scheme (tenc, schm; ISO/IEC 23001-7, 8.2 and 4), one sample description,
// the initialization data of DRM systems that were asked for and of no other
// (pssh), and that the playlist names the key's URI. Of what is clear neither
// may mention encryption.
func checkProtection(init, playlist []byte, p *protection) error {
	moov, err := parseInit(init)
	if err != nil {
		return err
	}
	entries, sinf := sampleEntries(moov)
	if p == nil {
		if sinf != nil || bytes.Contains(playlist, []byte("#EXT-X-KEY")) {
			return fmt.Errorf("a clear output says that it is encrypted")
		}
		return nil
	}
	switch {
	case entries != 1:
		return fmt.Errorf("the init segment has %d sample descriptions", entries)
	case sinf == nil || sinf.Schm == nil || sinf.Schi == nil || sinf.Schi.Tenc == nil:
		return fmt.Errorf("an encrypted output has no protection boxes")
	case sinf.Schm.SchemeType != string(p.scheme):
		return fmt.Errorf("scheme is %s", sinf.Schm.SchemeType)
	case !bytes.Equal(sinf.Schi.Tenc.DefaultKID, p.key.KID[:]):
		return fmt.Errorf("tenc has another key id")
	case sinf.Schi.Tenc.DefaultIsProtected != 1:
		return fmt.Errorf("tenc says that samples are clear")
	case !bytes.Contains(playlist, []byte("#EXT-X-KEY:METHOD="+p.method()+`,URI="`+p.key.URI+`"`)):
		return fmt.Errorf("the playlist does not name the key")
	}
	return checkInitData(moov, p)
}

// commonSystem is the DRM system that players make key requests of
// (W3C "cenc" Initialization Data Format, 4).
const commonSystem = "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b"

// checkInitData wants one pssh box (ISO/IEC 23001-7, 8.1) for each system, with
// the key's id in it.
func checkInitData(moov *mp4.MoovBox, p *protection) error {
	want := []string{commonSystem}
	for _, name := range p.pssh {
		want = append(want, drmSystems[name].id)
	}
	var got []string
	for _, box := range moov.Psshs {
		got = append(got, strings.ToLower(box.SystemID.String()))
		if !namesKID(box, p.key.KID) {
			return fmt.Errorf("the initialization data of system %s does not name the key id", box.SystemID)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the init segment has initialization data of the systems %v, want %v", got, want)
	}
	return nil
}

// namesKID looks for a key id in a pssh box: in its list; in Widevine's
// message, as it is; or in PlayReady's header, which has it as a GUID, little
// endian in its first three fields, in base64, in UTF-16.
func namesKID(box *mp4.PsshBox, kid cenc.KID) bool {
	for _, listed := range box.KIDs {
		if bytes.Equal(listed, kid[:]) {
			return true
		}
	}
	guid := kid
	slices.Reverse(guid[0:4])
	slices.Reverse(guid[4:6])
	slices.Reverse(guid[6:8])
	var wide []byte
	for _, c := range []byte(base64.StdEncoding.EncodeToString(guid[:])) {
		wide = append(wide, c, 0)
	}
	return bytes.Contains(box.Data, kid[:]) || bytes.Contains(box.Data, wide)
}

func parseInit(init []byte) (*mp4.MoovBox, error) {
	f, err := mp4.DecodeFile(bytes.NewReader(init))
	if err != nil {
		return nil, fmt.Errorf("parse init segment: %w", err)
	}
	if f.Init == nil || f.Init.Moov == nil || f.Init.Moov.Trak == nil {
		return nil, fmt.Errorf("the init segment has no track")
	}
	return f.Init.Moov, nil
}

// sampleEntries returns how many sample descriptions an init segment has and
// the protection of the last one, nil when it is clear.
func sampleEntries(moov *mp4.MoovBox) (int, *mp4.SinfBox) {
	stsd := moov.Trak.Mdia.Minf.Stbl.Stsd
	var sinf *mp4.SinfBox
	for _, child := range stsd.Children {
		switch entry := child.(type) {
		case *mp4.VisualSampleEntryBox:
			sinf = entry.Sinf
		case *mp4.AudioSampleEntryBox:
			sinf = entry.Sinf
		}
	}
	return len(stsd.Children), sinf
}

// largeSample is the size from which most of a picture must be protected.
// Below it, headers and SEI, which stay in the clear, may be all there is.
const largeSample = 4096

// checkSamples wants every sample of an encrypted fragment under the track's
// own protection: no other sample description, no sample group that lifts it
// (ISO/IEC 23001-7, 6), and for pictures ranges that cover each sample and
// protect most of every large one. Sound has no ranges: all of it is protected.
// Under cenc every sample has an initialization vector; ivs gets them.
func checkSamples(moof *mp4.MoofBox, video bool, scheme cenc.Scheme, ivs *ivRange) error {
	for _, traf := range moof.Trafs {
		switch {
		case traf.Tfhd.HasSampleDescriptionIndex() && traf.Tfhd.SampleDescriptionIndex != 1:
			return fmt.Errorf("a fragment uses sample description %d", traf.Tfhd.SampleDescriptionIndex)
		case traf.Sbgp != nil && traf.Sbgp.GroupingType == "seig":
			return fmt.Errorf("a fragment has a sample group with another protection")
		case !video && scheme == cenc.SchemeCBCS:
			continue
		case traf.Senc == nil:
			return fmt.Errorf("a fragment has no encryption boxes")
		}
		if traf.Senc.ReadButNotParsed() {
			// cbcs has a constant IV, so the boxes hold ranges only. The size
			// of other IVs is told by saiz.
			if err := traf.Senc.ParseReadBox(0, traf.Saiz); err != nil {
				return fmt.Errorf("read protected ranges: %w", err)
			}
		}
		if scheme == cenc.SchemeCENC {
			if n := sampleCount(traf); len(traf.Senc.IVs) != n {
				return fmt.Errorf("%d samples, %d with an initialization vector", n, len(traf.Senc.IVs))
			}
			if err := ivs.add(traf.Senc.IVs); err != nil {
				return err
			}
		}
		if !video {
			if traf.Senc.Flags&mp4.UseSubSampleEncryption != 0 {
				return fmt.Errorf("a fragment of sound has protected ranges")
			}
			continue
		}
		if err := checkRanges(traf); err != nil {
			return err
		}
	}
	return nil
}

func sampleCount(traf *mp4.TrafBox) int {
	n := 0
	for _, trun := range traf.Truns {
		n += int(trun.SampleCount())
	}
	return n
}

func checkRanges(traf *mp4.TrafBox) error {
	ranges := traf.Senc.SubSamples
	n := 0
	for _, trun := range traf.Truns {
		for _, sample := range trun.Samples {
			if n >= len(ranges) {
				return fmt.Errorf("%d samples have protected ranges, there are more", len(ranges))
			}
			var clear, protected uint64
			for _, r := range ranges[n] {
				clear += uint64(r.BytesOfClearData)
				protected += uint64(r.BytesOfProtectedData)
			}
			size := uint64(sample.Size)
			if !trun.HasSampleSize() {
				size = uint64(traf.Tfhd.DefaultSampleSize) // so the packager writes a fragment of one sample
			}
			if clear+protected != size || size >= largeSample && protected < size/2 {
				return fmt.Errorf("of a sample of %d bytes %d are protected, %d clear", size, protected, clear)
			}
			n++
		}
	}
	if n != len(ranges) {
		return fmt.Errorf("%d samples, %d with protected ranges", n, len(ranges))
	}
	return nil
}
