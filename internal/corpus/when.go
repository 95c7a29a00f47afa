package corpus

// shapeCases are pictures of odd shapes and sizes.
func shapeCases() []oddCase {
	turned := "-i @ -c copy -metadata:s:v:0 rotate="
	return []oddCase{
		{"16×16", "o.mp4", shot("16x16", "25") + x264aac, 25, 1, nil},
		{"as wide as a ticker", "o.mkv", shot("4000x16", "5") + "-c:v mjpeg -c:a flac", 5, 1, nil},
		{"upright", "o.mp4", shot("90x160", "25") + x264aac, 25, 1, nil},
		{"odd size", "o.mkv", shot("427x241", "25") + "-c:v ffv1 -c:a flac", 25, 1, shape(426, 240)},
		{"anamorphic", "o.mp4", shot("360x288", "25") + x264aac + "-vf setsar=16/11", 25, 1, shape(436, 240)},
		{"portrait with rotation", "o.mp4", turned + "90", 25, 1, shape(90, 160)},
		{"turned by 180 degrees", "o.mov", turned + "180", 25, 1, shape(160, 90)},
		{"turned by 270 degrees", "o.mp4", turned + "270", 25, 1, shape(90, 160)},
	}
}

// timeCases are clocks and rates that are not the usual ones.
func timeCases() []oddCase {
	const (
		late     = "-itsoffset 0.4 "
		variable = " -vsync vfr "
	)
	long := sound("1.4", "0.6", "1.0") + " "
	return []oddCase{
		{"12 frames a second", "o.mp4", picture("160x90", "12", "1", "0.25", "0.5") + " " + sound("1", "0.25", "0.5") + " " + x264aac, 12, 1, nil},
		{"23.976 frames a second in Matroska", "o.mkv", picture("160x90", "24000/1001", "1", "0.208542", "0.625625") + " " + sound("1", "0.208542", "0.625625") + " " + x264aac, 24, 1, nil},
		{"50 frames a second", "o.mp4", shot("160x90", "50") + x264aac, 0, 1, nil},
		{"120 fps", "o.mp4", shot("160x90", "120") + x264aac, 30, 1, nil},
		{"1000 frames a second", "o.mkv", picture("64x64", "1000", "0.4", "0.12", "0.28") + " " + sound("0.4", "0.12", "0.28") + " -c:v mpeg4 -c:a aac", 0, 1, nil},
		{"a frame in two seconds", "o.mp4", picture("160x90", "1/2", "6", "4", "4") + " " + sound("6", "4", "4") + " " + x264aac, 0, 1, flashes(1)},
		{"variable frame rate", "o.mkv", clip + "-vf select='not(mod(n,5))+gt(n,20)'" + variable + x264aac, 0, 1, looks("0.5", "0.9")},
		{"slide show", "o.mp4", picture("160x90", "25", "4", "0.6", "3.2") + " " + sound("4", "0.6", "3.2") + " -vf select='eq(n,0)+eq(n,15)+eq(n,25)+eq(n,80)'" + variable + x264aac, 0, 1, looks("0.5", "0.8", "2")},
		{"sound late, Matroska", "o.mkv", picture("160x90", "25", "1.4", "0.6", "1.0") + " " + late + clipSound + " " + x264aac, 35, 1, nil},
		{"sound late, MP4", "o.mp4", picture("160x90", "25", "1.4", "0.6", "1.0") + " " + late + clipSound + " " + x264aac, 35, 1, nil},
		{"picture late, Matroska", "o.mkv", late + clipPicture + " " + long + x264aac, 35, 1, nil},
		{"picture late, MP4", "o.mp4", late + clipPicture + " " + long + x264aac, 35, 1, nil},
		{"sound that ends early", "o.mp4", picture("160x90", "25", "2", "0.2", "0.6") + " " + sound("1.2", "0.2", "0.6") + " " + x264aac, 50, 1, nil},
		{"pictures that end early", "o.mp4", clipPicture + " " + sound("2", "0.2", "0.6") + " " + x264aac, 50, 1, nil},
		{"time stamps far from zero", "o.ts", "-i @ -c copy -output_ts_offset 5000", 25, 1, nil},
		{"time stamps that wrap", "o.ts", "-i @ -c copy -output_ts_offset 95443.2", 25, 1, nil},
		{"time stamps a day from zero", "o.mkv", "-i @ -c copy -output_ts_offset 86400", 0, 1, nil},
		// ffmpeg reads no times below zero out of Matroska: streams that begin together stay together.
		{"negative time stamps", "o.mkv", "-i @ -c:v copy -c:a flac -output_ts_offset -0.4 -avoid_negative_ts disabled", 0, 1, flashes(1)},
		{"negative time stamps in MP4", "o.mp4", "-i @ -c copy -output_ts_offset -0.4 -avoid_negative_ts disabled", 0, 1, flashes(1)},
	}
}
