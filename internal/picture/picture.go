// Package picture makes small pictures out of pictures that sealcast has made
// itself: posters and storyboard sprites. It is pure Go and bounded; bytes of
// strangers are for ffmpeg in its sandbox, not for this.
package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"

	"github.com/HugoSmits86/nativewebp"
	"golang.org/x/image/draw"
)

// Format is how the result is encoded.
type Format string

// The formats. WebP is lossless here.
const (
	JPEG Format = "jpg"
	PNG  Format = "png"
	WebP Format = "webp"
)

// Bounds of what is taken.
const (
	MaxBytes  = 16 << 20 // of the source
	maxSide   = 16383    // pixels; the most that WebP has
	maxPixels = 40_000_000
	quality   = 82
)

// ErrSource says that the source is no JPEG within the bounds.
var ErrSource = errors.New("not a JPEG within the bounds")

// Cut decodes a JPEG, cuts crop out of it (all of it when crop is empty) and
// scales that to width pixels (0, or more than there are: as it is), keeping
// its proportions.
func Cut(source []byte, crop image.Rectangle, width int, format Format) ([]byte, error) {
	if len(source) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrSource, len(source))
	}
	cfg, err := jpeg.DecodeConfig(bytes.NewReader(source))
	if err != nil || cfg.Width > maxSide || cfg.Height > maxSide || cfg.Width*cfg.Height > maxPixels {
		return nil, fmt.Errorf("%w: %dx%d", ErrSource, cfg.Width, cfg.Height)
	}
	whole, err := jpeg.Decode(bytes.NewReader(source))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	if crop.Empty() {
		crop = whole.Bounds()
	}
	if crop = crop.Intersect(whole.Bounds()); crop.Empty() {
		return nil, fmt.Errorf("%w: nothing lies within the crop", ErrSource)
	}
	w, h := crop.Dx(), crop.Dy()
	if width > 0 && width < w {
		h = max(1, (h*width+w/2)/w)
		w = width
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(small, small.Bounds(), whole, crop, draw.Src, nil)
	return encode(small, format)
}

func encode(img image.Image, format Format) ([]byte, error) {
	var out bytes.Buffer
	var err error
	switch format {
	case JPEG:
		err = jpeg.Encode(&out, img, &jpeg.Options{Quality: quality})
	case PNG:
		err = png.Encode(&out, img)
	case WebP:
		err = nativewebp.Encode(&out, img, nil)
	default:
		err = fmt.Errorf("unknown format %q", format)
	}
	if err != nil {
		return nil, fmt.Errorf("encode the picture: %w", err)
	}
	return out.Bytes(), nil
}
