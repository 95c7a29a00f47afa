package pipeline_test

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// An animation is counted by its blocks; what it unpacks to is never in memory.
func TestGIFIsNotDecoded(t *testing.T) {
	palette := color.Palette{color.Black, color.White}
	anim := &gif.GIF{}
	for i := range 3 {
		picture := image.NewPaletted(image.Rect(0, 0, 64, 36), append(palette, color.Gray{Y: uint8(90 * i)}))
		picture.Pix[i] = 1
		anim.Image, anim.Delay = append(anim.Image, picture), append(anim.Delay, 10)
	}
	var file bytes.Buffer
	if err := gif.EncodeAll(&file, anim); err != nil {
		t.Fatal(err)
	}
	body := file.Bytes()
	if frames, width, height, err := pipeline.Animation(body); err != nil || frames != 3 || width != 64 || height != 36 {
		t.Errorf("%d frames of %d×%d, %v", frames, width, height, err)
	}
	for n := range body {
		if _, _, _, err := pipeline.Animation(body[:n]); err == nil {
			t.Fatalf("%d of %d bytes pass", n, len(body))
		}
	}
	// One picture of 65535×65535 whose data cannot be unpacked: 4 GiB for who tries.
	bomb := append([]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), "\x21\xf9\x04\x00\x00\x00\x00\x00\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x80\x00\x00\x00\xff\xff\xff\x02\x02\xff\xff\x00\x3b"...)
	if frames, width, _, err := pipeline.Animation(bomb); err != nil || frames != 1 || width != 65535 {
		t.Errorf("%d frames %d wide, %v", frames, width, err)
	}
}

func TestPreviewIsBounded(t *testing.T) {
	of := func(width, height int) *pipeline.Source {
		return &pipeline.Source{Video: pipeline.VideoSource{Width: width, Height: height, SAR: pipeline.Rational{Num: 1, Den: 1}}}
	}
	most := pipeline.Preview{Width: 960, FPS: 25}
	if err := pipeline.Bounded(most, of(1920, 1080), 30*time.Second); err != nil {
		t.Error(err)
	}
	wantCode(t, pipeline.Bounded(most, of(1080, 1920), 30*time.Second), pipeline.CodeOptionsInvalid, true)
	if err := pipeline.Bounded(pipeline.Preview{Width: 320, FPS: 10}, of(400, 8000), 3*time.Second); err != nil {
		t.Error("by default:", err)
	}
}
