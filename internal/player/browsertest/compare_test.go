package browsertest

import (
	"image"
	"image/color"
	"testing"
)

// ramp is a picture that gets brighter from left to right, moved by shift.
func ramp(w, h, shift int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			v := uint8((x*256/w + shift) % 256)
			img.Set(x, y, color.RGBA{v, v, v, 255})
		}
	}
	return img
}

func TestSimilar(t *testing.T) {
	black, white := image.NewGray(image.Rect(0, 0, 64, 36)), image.NewUniform(color.White)
	whole := image.NewRGBA(black.Bounds())
	for y := range 36 {
		for x := range 64 {
			whole.Set(x, y, white)
		}
	}
	for _, tc := range []struct {
		name     string
		a, b     image.Image
		min, max float64
	}{
		{"equal", ramp(640, 360, 0), ramp(640, 360, 0), 0, 0},
		{"equal, other size", ramp(640, 360, 0), ramp(321, 181, 0), 0, 0.01},
		{"moved", ramp(640, 360, 0), ramp(640, 360, 60), 0.2, 0.5},
		{"black and white", black, whole, 0.999, 1.001},
		{"smaller than the raster", ramp(16, 9, 0), ramp(16, 9, 0), 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Similar(tc.a, tc.b)
			if got < tc.min || got > tc.max {
				t.Errorf("Similar = %.4f, want %.3f to %.3f", got, tc.min, tc.max)
			}
			if back := Similar(tc.b, tc.a); back != got {
				t.Errorf("Similar is not symmetric: %.4f and %.4f", got, back)
			}
		})
	}
	if b := Brightness(black); b != 0 {
		t.Errorf("Brightness(black) = %f", b)
	}
}

// Letters stand out whatever they stand on, also when they are as bright as it on
// the whole.
func TestUneven(t *testing.T) {
	if n := Uneven(ramp(640, 360, 0)); n != 0 {
		t.Errorf("%d cells stand out without text", n)
	}
	for _, left := range []int{10, 300, 580} { // dark, grey, bright
		text := ramp(640, 360, 0).(*image.RGBA)
		for y := 300; y < 320; y++ {
			for x := left; x < left+50; x++ {
				text.Set(x, y, color.Gray{Y: uint8(255 * (x / 2 % 2))})
			}
		}
		if Uneven(text) == 0 {
			t.Errorf("text at %d does not stand out", left)
		}
	}
}
