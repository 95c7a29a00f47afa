package picture

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	_ "image/png"
	"testing"

	_ "golang.org/x/image/webp"
)

// source is a JPEG whose left half is red and whose right half is blue.
func source(t testing.TB, w, h int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{255, 0, 0, 255}
			if x >= w/2 {
				c = color.RGBA{0, 0, 255, 255}
			}
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCut(t *testing.T) {
	src := source(t, 64, 36)
	for _, tt := range []struct {
		name   string
		crop   image.Rectangle
		width  int
		format Format
		kind   string
		w, h   int
		blue   bool // the middle of the result's left quarter
	}{
		{"smaller", image.Rectangle{}, 32, JPEG, "jpeg", 32, 18, false},
		{"as it is", image.Rectangle{}, 0, PNG, "png", 64, 36, false},
		{"never larger", image.Rectangle{}, 1920, WebP, "webp", 64, 36, false},
		{"a tile", image.Rect(32, 0, 64, 18), 0, PNG, "png", 32, 18, true},
		{"a tile, smaller", image.Rect(32, 0, 64, 18), 16, WebP, "webp", 16, 9, true},
		{"a tile over the edge", image.Rect(48, 0, 500, 36), 0, JPEG, "jpeg", 16, 36, true},
		{"one pixel", image.Rectangle{}, 1, PNG, "png", 1, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := Cut(src, tt.crop, tt.width, tt.format)
			if err != nil {
				t.Fatal(err)
			}
			img, kind, err := image.Decode(bytes.NewReader(out))
			if err != nil || kind != tt.kind || img.Bounds().Dx() != tt.w || img.Bounds().Dy() != tt.h {
				t.Fatalf("%s %v, %v", kind, img.Bounds(), err)
			}
			r, _, b, _ := img.At(tt.w/4, tt.h/2).RGBA()
			if tt.w > 1 && (b > r) != tt.blue {
				t.Errorf("red %d, blue %d", r>>8, b>>8)
			}
		})
	}
}

func TestCutRefuses(t *testing.T) {
	src := source(t, 16, 16)
	for name, bad := range map[string][]byte{"nothing": nil, "no picture": []byte("GIF89a"), "cut": src[:len(src)/2], "too many bytes": make([]byte, MaxBytes+1)} {
		if _, err := Cut(bad, image.Rectangle{}, 0, JPEG); !errors.Is(err, ErrSource) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A head that announces more pixels than are taken is refused before any is decoded.
	huge := bytes.Clone(src)
	i := bytes.Index(huge, []byte{0xff, 0xc0})
	copy(huge[i+5:], []byte{0x3f, 0x00, 0x3f, 0x00})
	if _, err := Cut(huge, image.Rectangle{}, 0, JPEG); !errors.Is(err, ErrSource) {
		t.Errorf("16128 by 16128: %v", err)
	}
	if _, err := Cut(src, image.Rect(100, 100, 200, 200), 0, JPEG); !errors.Is(err, ErrSource) {
		t.Errorf("a crop outside: %v", err)
	}
	if _, err := Cut(src, image.Rectangle{}, 0, "gif"); err == nil {
		t.Error("an unknown format")
	}
}

// FuzzCut: whatever the bytes, a picture or ErrSource.
func FuzzCut(f *testing.F) {
	f.Add(source(f, 16, 8), 0, 0, 4, 4, 3)
	f.Add([]byte{0xff, 0xd8}, 1, 1, 0, 0, -1)
	f.Fuzz(func(t *testing.T, data []byte, x0, y0, x1, y1, width int) {
		out, err := Cut(data, image.Rect(x0, y0, x1, y1), width, PNG)
		if err != nil {
			if !errors.Is(err, ErrSource) {
				t.Fatal(err)
			}
			return
		}
		if _, _, err := image.DecodeConfig(bytes.NewReader(out)); err != nil {
			t.Fatal(err)
		}
	})
}
