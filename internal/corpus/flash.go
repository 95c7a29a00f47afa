package corpus

import "fmt"

// Flash and beep: a moving picture whose middle is black, and no sound. At two
// times the middle turns white and a tone sounds: for a tenth of a second, and
// then up to the end. How far apart they come out is how far sound and picture
// are apart.
const (
	first, second = "0.2", "0.6"
	band          = "drawbox=x=iw/4:w=iw/2:y=0:h=ih:t=fill:c="
)

// picture is a lavfi input of ffmpeg: a size, a rate, a length in seconds and
// when the flashes begin, which must be times of pictures at that rate.
func picture(size, rate, seconds, one, two string) string {
	return fmt.Sprintf("-f lavfi -i testsrc2=s=%s:r=%s:d=%s,%sblack,%swhite:enable='between(t,%s-0.001,%s+0.09)+gte(t,%s-0.001)'",
		size, rate, seconds, band, band, one, one, two)
}

// sound is the tone to it, in stereo.
func sound(seconds, one, two string) string {
	return fmt.Sprintf("-f lavfi -i aevalsrc='if(between(t,%s,%s+0.1)+gte(t,%s),0.8*sin(2*PI*880*(t-%s)),0)':s=48000:c=stereo:d=%s",
		one, one, two, one, seconds)
}

// shot is a second of both, of a size and a rate.
func shot(size, rate string) string {
	return picture(size, rate, "1", first, second) + " " + clipSound + " "
}

// What most cases are made from: a second of 160×90 at 25 frames a second.
var (
	clipPicture = picture("160x90", "25", "1", first, second)
	clipSound   = sound("1", first, second)
	clip        = clipPicture + " " + clipSound + " "
)

const (
	clipCodecs = "-c:v libx264 -preset ultrafast -bf 2 -g 10 -pix_fmt yuv420p -c:a aac -b:a 64k"
	x264       = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p "
	x264aac    = x264 + "-c:a aac "
)
