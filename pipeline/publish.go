package pipeline

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// publish uploads what makes segments playable, in the order that keeps a
// playlist behind its segments, which are durable with their init segments:
// media playlists, then the inventory is compared with the store, then
// multivariant playlists and MPD.
func (a *attempt) publish(ctx context.Context, done *packed) (*Presentation, error) {
	if err := a.up.putAll(ctx, done.playlists); err != nil {
		return nil, err
	}
	if err := a.checkInventory(ctx, len(a.sink.all())+len(done.inits)+len(done.playlists)); err != nil {
		return nil, err
	}
	p := &Presentation{}
	masters := map[string][]byte{}
	for _, output := range a.req.Options.Outputs {
		as := formats[output]
		out := Output{Name: output, Container: as.container, MasterPlaylist: as.master, Manifest: as.manifest}
		if a.req.Options.Encrypt {
			out.Scheme, out.KeyPeriods = a.req.Options.SchemeOf(output), a.sink.keys.periods(output)
		}
		if a.req.Options.protectionOf(output, a.req.Keys[output]) != nil {
			out.EMEPlaylist = masterEME
		}
		if as.manifest != "" {
			masters[as.manifest] = done.manifest
		}
		p.Outputs = append(p.Outputs, out)
		master := a.multivariant(out, done, p)
		if out.EMEPlaylist != "" {
			dir := trackDir(output, carried(output, a.renditions)[0].Name)
			masters[masterEME] = withSessionKeys(multivariantEME(master), done.playlists[dir+"/"+playlistEME])
			master = withSessionKeys(master, done.playlists[dir+"/index.m3u8"])
		}
		masters[out.MasterPlaylist] = master
	}
	if err := a.up.putAll(ctx, masters); err != nil {
		return nil, err
	}
	p.Objects, p.Bytes = a.up.list()
	for _, t := range p.Video {
		p.Duration = max(p.Duration, t.Duration)
	}
	for _, t := range p.Audio {
		p.Duration = max(p.Duration, t.Duration)
	}
	return p, nil
}

// multivariant makes an output's multivariant playlist and records its tracks.
func (a *attempt) multivariant(out Output, done *packed, p *Presentation) []byte {
	var variants []variant
	var audio []alternative
	for _, r := range carried(out.Name, a.renditions) {
		dir := trackDir(out.Name, r.Name)
		uri := relativeTo(out.MasterPlaylist, dir+"/index.m3u8")
		bits := done.tracks[dir]
		length := time.Duration(r.Facts.seconds() * float64(time.Second)).Round(time.Millisecond)
		if v := r.Video; v != nil {
			line := v.variant(uri, r.Facts.Codec, bits)
			line.IFrames = done.iframes[dir]
			variants = append(variants, line)
			p.Video = append(p.Video, VideoTrack{
				Output: out.Name, Rung: v.Rung.Name, Codec: r.Facts.Codec, Width: v.Width, Height: v.Height,
				FrameRate: v.Rate.Float(), Bandwidth: bits.Peak, AverageBandwidth: bits.Average,
				Frames: r.Facts.Frames, Bytes: bits.Bytes, Duration: length, Copied: v.Copied,
			})
			continue
		}
		audio = append(audio, r.Audio.alternative(uri, r.Facts.Codec, r.Facts.Channels, bits))
		p.Audio = append(p.Audio, AudioTrack{
			Output: out.Name, Name: r.Audio.Name, Language: r.Audio.Language, Codec: r.Facts.Codec,
			Default: r.Audio.Default, GainDB: r.Audio.GainDB, Channels: r.Facts.Channels, SampleRate: r.Facts.SampleRate,
			Bandwidth: bits.Peak, AverageBandwidth: bits.Average, Bytes: bits.Bytes, Duration: length,
		})
	}
	return a.req.Options.multivariant(variants, audio)
}

// checkInventory compares what the store lists with what was uploaded: names,
// sizes and the store's own checksums, told at upload and now.
func (a *attempt) checkInventory(ctx context.Context, want int) error {
	var listed []ObjectInfo
	err := a.dog.retry(ctx, func(ctx context.Context) (err error) {
		listed, err = a.cfg.Media.List(ctx, a.up.prefix)
		return err
	})
	if err != nil {
		return transient(CodeStoreUnavailable, "the object store did not list what was uploaded", err)
	}
	a.up.mu.Lock()
	defer a.up.mu.Unlock()
	if len(a.up.inventory) != want || len(listed) != want {
		return verifyError(fmt.Errorf("%d objects were made, %d uploaded, %d are in the store", want, len(a.up.inventory), len(listed)))
	}
	for _, info := range listed {
		name := strings.TrimPrefix(info.Key, a.up.prefix)
		obj, ok := a.up.inventory[name]
		if !ok || obj.Size != info.Size || strings.Trim(a.up.etags[name], `"`) != strings.Trim(info.ETag, `"`) {
			return verifyError(fmt.Errorf("%s in the store is not what was uploaded", name))
		}
	}
	return nil
}
