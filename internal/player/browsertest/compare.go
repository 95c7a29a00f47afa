package browsertest

import (
	"image"
	"image/color"
	"math"
)

// thumbW × thumbH is the raster on which pictures are compared: coarse enough
// to forgive scaling, rounded corners and compression, fine enough to tell one
// picture from another.
const thumbW, thumbH = 32, 18

// Similar is the mean absolute difference of two pictures' luma on a 32 × 18
// raster, each cell averaged: 0 is equal, 1 is black against white. Pictures
// may differ in size. The same frame seen through an encoder and a browser
// stays below 0.03; pictures of different scenes are above 0.1.
func Similar(a, b image.Image) float64 {
	ta, tb := thumb(a), thumb(b)
	var sum float64
	for i := range ta {
		sum += math.Abs(ta[i] - tb[i])
	}
	return sum / float64(len(ta))
}

// Differs counts the cells of that raster in which two pictures differ by more
// than a twelfth of the range: 0 for the same frame, more with text on it.
func Differs(a, b image.Image) int {
	ta, tb := thumb(a), thumb(b)
	n := 0
	for i := range ta {
		if math.Abs(ta[i]-tb[i]) > 1./12 {
			n++
		}
	}
	return n
}

// Uneven counts the cells of that raster whose pixels lie further apart, by a third
// of the range, than those of the one at the top of their column: letters with
// their outline, on a picture whose columns are of one brightness each. Their mean
// may be the picture's.
func Uneven(img image.Image) int {
	var least, most [thumbW * thumbH]float64
	for i := range least {
		least[i] = 1
	}
	r := img.Bounds()
	for y := range r.Dy() {
		for x := range r.Dx() {
			cell := (y*thumbH/r.Dy())*thumbW + x*thumbW/r.Dx()
			l := luma(img.At(r.Min.X+x, r.Min.Y+y))
			least[cell], most[cell] = min(least[cell], l), max(most[cell], l)
		}
	}
	n := 0
	for i := range least {
		top := i % thumbW
		if most[i]-least[i]-(most[top]-least[top]) > 1./3 {
			n++
		}
	}
	return n
}

// Brightness is the mean luma of a picture: 0 black, 1 white.
func Brightness(img image.Image) float64 {
	var sum float64
	t := thumb(img)
	for _, y := range t {
		sum += y
	}
	return sum / float64(len(t))
}

func thumb(img image.Image) [thumbW * thumbH]float64 {
	var sum, n [thumbW * thumbH]float64
	r := img.Bounds()
	for y := range r.Dy() {
		for x := range r.Dx() {
			cell := (y*thumbH/r.Dy())*thumbW + x*thumbW/r.Dx()
			sum[cell] += luma(img.At(r.Min.X+x, r.Min.Y+y))
			n[cell]++
		}
	}
	for i := range sum {
		if n[i] > 0 {
			sum[i] /= n[i]
		}
	}
	return sum
}

// luma is the luma of a colour as ITU-R BT.709 weighs it, 0 to 1.
func luma(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	return (0.2126*float64(r) + 0.7152*float64(g) + 0.0722*float64(b)) / 0xffff
}
