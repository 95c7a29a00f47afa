package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// rendition is one encoded stream on its way to the packagers.
type rendition struct {
	Name  string // folder below the output: v-720p, a-0
	Video *VideoPlan
	Audio *AudioPlan
	Facts *trackFacts
}

func renditions(p Plan) []*rendition {
	var out []*rendition
	for i := range p.Video {
		out = append(out, &rendition{Name: p.Video[i].folder(), Video: &p.Video[i], Facts: &trackFacts{}})
	}
	for i := range p.Audio {
		out = append(out, &rendition{Name: "a-" + strconv.Itoa(i), Audio: &p.Audio[i], Facts: &trackFacts{}})
	}
	return out
}

// TSOffset is where the clock of MPEG-TS segments stands at the film's beginning.
// MPEG-TS has no negative time stamps, so everything is moved by the reordering
// delay at least: four frames of the slowest rate that there is. It is the same
// for every source, for text tracks outlive a generation (RFC 8216bis, 3.1.4).
const TSOffset = time.Second

// packArgs returns Shaka Packager's arguments for one output. The first
// rendition comes in on descriptor firstFD. Raw keys are not among them: see
// keyFlags. Without p the output stays clear: the packager has no AES-128 for
// full segments.
func packArgs(output string, rs []*rendition, plan Plan, sinkURL string, firstFD int, p *protection) []string {
	var args []string
	for i, r := range rs {
		args = append(args, streamDescriptor(output, r, sinkURL, firstFD+i))
	}
	args = append(args,
		"--segment_duration", strconv.FormatFloat(plan.SegmentSeconds, 'f', -1, 64),
		"--hls_playlist_type", plan.playlistType(),
		"--io_cache_size", "262144", // of each file, twice, and all of it is filled with zeros: the default is 32 MiB, 0 hangs with HTTP output
		"--io_block_size", "4096", // it waits for whole blocks: 64 KiB, the default, are four seconds of sound
	)
	as := formats[output]
	args = append(args, "--hls_master_playlist_output", sinkURL+"/"+as.master)
	if as.manifest != "" {
		args = append(args, "--mpd_output", sinkURL+"/"+as.manifest, "--generate_static_live_mpd")
	}
	if as.container == containerTS {
		args = append(args, "--transport_stream_timestamp_offset_ms", strconv.FormatInt(TSOffset.Milliseconds(), 10))
	}
	if p != nil {
		args = append(args,
			"--enable_raw_key_encryption", "--protection_scheme", string(p.scheme),
			"--clear_lead", "0") // the default leaves 5 s in the clear
		if len(p.pssh) > 0 {
			args = append(args, "--protection_systems", protectionSystems(p.pssh))
		}
	}
	return args
}

// playlistType is the packager's: it writes an EVENT playlist after each
// segment, a VOD one at the end.
func (p Plan) playlistType() string {
	if p.Early {
		return "EVENT"
	}
	return "VOD"
}

func streamDescriptor(output string, r *rendition, sinkURL string, fd int) string {
	dir := trackDir(output, r.Name)
	parts := []string{"in=/dev/fd/" + strconv.Itoa(fd)}
	playlist := relativeTo(formats[output].master, dir+"/index.m3u8")
	if r.Video != nil {
		parts = append(parts, "stream=video")
	} else {
		parts = append(parts, "stream=audio", "hls_group_id=audio", "hls_name="+r.Name)
		// The packager refuses languages that are not in its table; the
		// two-letter ones all are.
		if base, _, _ := strings.Cut(r.Audio.Language, "-"); len(base) == 2 {
			parts = append(parts, "language="+base)
		}
		if r.Audio.Default {
			parts = append(parts, "dash_roles=main")
		}
	}
	switch formats[output].container {
	case containerMP4:
		parts = append(parts, "init_segment="+sinkURL+"/"+dir+"/init.mp4",
			"segment_template="+sinkURL+"/"+dir+"/$Number$.m4s")
	case containerTS:
		parts = append(parts, "segment_template="+sinkURL+"/"+dir+"/$Number$.ts")
	}
	return strings.Join(append(parts, "playlist_name="+playlist), ",")
}

// keyFlags returns the packager's flag file with the raw key. It goes through
// an inherited pipe: no ps, no environment and no file can show it.
func keyFlags(k Key) []byte {
	return fmt.Appendf(nil, "--keys=label=:key_id=%s:key=%x\n--hls_key_uri=%s\n", k.KID, k.Content.Bytes(), k.URI)
}
