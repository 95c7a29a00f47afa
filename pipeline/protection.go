package pipeline

import (
	"bytes"
	"fmt"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/sealcast/sealcast/internal/cenc"
)

// checkProtection compares what the init segment's boxes say with the key: KID
// and scheme (tenc, schm; ISO/IEC 23001-7, 8.2 and 4), one sample description,
// and that the playlist names the key's URI. Without a key neither may mention
// encryption.
func checkProtection(init, playlist []byte, key Key) error {
	entries, sinf, err := sampleEntries(init)
	if err != nil {
		return err
	}
	if key.KID.IsZero() {
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
	case sinf.Schm.SchemeType != string(cenc.SchemeCBCS):
		return fmt.Errorf("scheme is %s", sinf.Schm.SchemeType)
	case !bytes.Equal(sinf.Schi.Tenc.DefaultKID, key.KID[:]):
		return fmt.Errorf("tenc has another key id")
	case sinf.Schi.Tenc.DefaultIsProtected != 1:
		return fmt.Errorf("tenc says that samples are clear")
	case !bytes.Contains(playlist, []byte("#EXT-X-KEY:METHOD=SAMPLE-AES,")) || !bytes.Contains(playlist, []byte(`URI="`+key.URI+`"`)):
		return fmt.Errorf("the playlist does not name the key")
	}
	return nil
}

// sampleEntries returns how many sample descriptions an init segment has and
// the protection of the last one, nil when it is clear.
func sampleEntries(init []byte) (int, *mp4.SinfBox, error) {
	f, err := mp4.DecodeFile(bytes.NewReader(init))
	if err != nil {
		return 0, nil, fmt.Errorf("parse init segment: %w", err)
	}
	if f.Init == nil || f.Init.Moov == nil || f.Init.Moov.Trak == nil {
		return 0, nil, fmt.Errorf("the init segment has no track")
	}
	stsd := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd
	var sinf *mp4.SinfBox
	for _, child := range stsd.Children {
		switch entry := child.(type) {
		case *mp4.VisualSampleEntryBox:
			sinf = entry.Sinf
		case *mp4.AudioSampleEntryBox:
			sinf = entry.Sinf
		}
	}
	return len(stsd.Children), sinf, nil
}

// largeSample is the size from which most of a picture must be protected.
// Below it, headers and SEI, which stay in the clear, may be all there is.
const largeSample = 4096

// checkSamples wants every sample of an encrypted fragment under the track's
// own protection: no other sample description, no sample group that lifts it
// (ISO/IEC 23001-7, 6), and for pictures ranges that cover each sample and
// protect most of every large one. Sound has no ranges: all of it is protected.
func checkSamples(moof *mp4.MoofBox, video bool) error {
	for _, traf := range moof.Trafs {
		switch {
		case traf.Tfhd.HasSampleDescriptionIndex() && traf.Tfhd.SampleDescriptionIndex != 1:
			return fmt.Errorf("a fragment uses sample description %d", traf.Tfhd.SampleDescriptionIndex)
		case traf.Sbgp != nil && traf.Sbgp.GroupingType == "seig":
			return fmt.Errorf("a fragment has a sample group with another protection")
		case !video:
			continue
		case traf.Senc == nil:
			return fmt.Errorf("a fragment of pictures has no encryption boxes")
		}
		if traf.Senc.ReadButNotParsed() {
			// cbcs has a constant IV, so the boxes hold ranges only.
			if err := traf.Senc.ParseReadBox(0, traf.Saiz); err != nil {
				return fmt.Errorf("read protected ranges: %w", err)
			}
		}
		if err := checkRanges(traf); err != nil {
			return err
		}
	}
	return nil
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
