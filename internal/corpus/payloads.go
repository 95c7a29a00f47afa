package corpus

import (
	"encoding/json"
	"strings"
)

const (
	hash   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	start  = `{"hash":"` + hash + `","source":"in/film.mp4"`
	taken  = 202
	broken = "invalid_json"
	odd    = "invalid_request"
	bad    = "payload_invalid"
	wrong  = "options_invalid"
)

// Payloads are job payloads. What tests of package worker and api have is not
// here again. Status and Problem are of the whole service: the API looks at the
// outer object, the worker's decode at what is in it.
func Payloads() []Payload {
	var list []Payload
	put := func(name, body, code string, status int, problem string) {
		list = append(list, Payload{Name: name, Type: "video:transcode", Body: body, Code: code, Status: status, Problem: problem})
	}
	// with puts members behind hash and source; what the worker refuses, the
	// API answers with the same code.
	with := func(name, members, code string) {
		status := map[string]int{"": taken, bad: 400, wrong: 422}[code]
		put(name, start+members+"}", code, status, code)
	}
	source := func(name, key, code string) {
		status := map[string]int{"": taken, bad: 400}[code]
		put("source "+name, `{"hash":"`+hash+`","source":"`+key+`"}`, code, status, code)
	}
	digest := func(name, h string) {
		put("hash "+name, `{"source":"in/film.mp4","hash":`+h+`}`, bad, 400, bad)
	}

	put("byte order mark", "\ufeff"+start+"}", bad, 400, broken)
	put("UTF-16", "{\x00}\x00", bad, 400, broken)
	put("NUL behind", start+"}\x00", bad, 400, broken)
	put("form feed before", "\f"+start+"}", bad, 400, broken)
	put("no-break space before", "\u00a0"+start+"}", bad, 400, broken)
	put("comment", start+"/* */}", bad, 400, broken)
	put("single quotes", `{'hash':'`+hash+`'}`, bad, 400, broken)
	put("bare names", `{hash:"`+hash+`"}`, bad, 400, broken)
	put("comma first", `{,"hash":"`+hash+`"}`, bad, 400, broken)
	put("no comma", `{"hash":"`+hash+`" "source":"a"}`, bad, 400, broken)
	put("two colons", `{"hash"::"`+hash+`"}`, bad, 400, broken)
	put("number as a name", `{1:2}`, bad, 400, broken)
	put("not closed", start, bad, 400, broken)
	put("closed by the other bracket", start+"]", bad, 400, broken)
	put("two objects in lines", start+"}\n"+start+"}", bad, 400, broken)
	put("a string", `"`+hash+`"`, bad, 400, broken)
	put("a number", "1", bad, 400, broken)
	put("line end in a string", "{\"hash\":\"a\nb\"}", bad, 400, broken)
	put("cut escape", `{"source":"\u12"}`, bad, 400, broken)
	put("unknown escape", `{"source":"\x41"}`, bad, 400, broken)
	put("NaN", start+`,"options":{"segment_seconds":NaN}}`, bad, 400, broken)
	put("hexadecimal", start+`,"options":{"segment_seconds":0x6}}`, bad, 400, broken)
	put("leading zero", start+`,"options":{"segment_seconds":06}}`, bad, 400, broken)
	put("plus sign", start+`,"options":{"segment_seconds":+6}}`, bad, 400, broken)
	put("overlong UTF-8", start+",\"options\":{\"\xc0\xafx\":1}}", bad, 400, broken)
	put("surrogate in UTF-8", start+",\"options\":{\"\xed\xa0\x80\":1}}", bad, 400, broken)
	put("brackets without end", strings.Repeat("[", 30000), bad, 400, broken)
	put("objects without end", strings.Repeat(`{"a":`, 10000), bad, 400, broken)
	put("empty object", "{}", bad, 400, bad)
	put("spaces without end", strings.Repeat(" ", 60000)+start+"}", "", taken, "")

	with("deep in an unknown field", `,"x":`+strings.Repeat("[", 9)+strings.Repeat("]", 9), bad)
	list[len(list)-1].Problem = odd
	with("deep in options", `,"options":{"ladder":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+"}", bad)
	with("duplicate in options by case", `,"options":{"encrypt":true,"Encrypt":false}`, bad)
	with("duplicate in options by escape", `,"options":{"encrypt":true,"encr\u0079pt":false}`, bad)
	with("duplicate outputs", `,"options":{"outputs":["ts","ts"]}`, wrong)
	with("outputs by case", `,"options":{"outputs":["TS"]}`, wrong)
	with("outputs with a space", `,"options":{"outputs":["ts "]}`, wrong)
	with("outputs of null", `,"options":{"outputs":[null]}`, bad)
	with("outputs of lists", `,"options":{"outputs":[["ts"]]}`, bad)
	with("outputs null", `,"options":{"outputs":null}`, bad)
	with("outputs an object", `,"options":{"outputs":{"0":"ts"}}`, bad)
	with("ladder twice the same", `,"options":{"ladder":["720p","720p"]}`, wrong)
	with("ladder of all rungs", `,"options":{"ladder":["2160p","1440p","1080p","720p","480p","360p","240p"]}`, "")
	with("ladder of a path", `,"options":{"ladder":["../720p"]}`, wrong)
	with("ladder of ten thousand", `,"options":{"ladder":["240p"`+strings.Repeat(`,"240p"`, 5000)+"]}", wrong)
	with("segments of the least", `,"options":{"segment_seconds":2}`, "")
	with("segments of the most", `,"options":{"segment_seconds":12}`, "")
	with("segments of more", `,"options":{"segment_seconds":14}`, wrong)
	with("segments of nothing", `,"options":{"segment_seconds":0}`, wrong)
	with("segments of minus two", `,"options":{"segment_seconds":-2}`, wrong)
	with("segments of minus zero", `,"options":{"segment_seconds":-0}`, wrong)
	with("segments with an exponent", `,"options":{"segment_seconds":6e0}`, bad)
	with("segments of 2^32+6", `,"options":{"segment_seconds":4294967302}`, bad)
	with("segments of a thousand digits", `,"options":{"segment_seconds":`+strings.Repeat("6", 1000)+"}", bad)
	with("segments in quotes", `,"options":{"segment_seconds":"6"}`, bad)
	with("segments true", `,"options":{"segment_seconds":true}`, bad)
	with("segments null", `,"options":{"segment_seconds":null}`, bad)
	with("encrypt zero", `,"options":{"encrypt":0}`, bad)
	with("encrypt a list", `,"options":{"encrypt":[false]}`, bad)
	with("options a list", `,"options":[]`, bad)
	with("options a string", `,"options":"{}"`, bad)
	with("options of an empty name", `,"options":{"":1}`, bad)
	with("options of __proto__", `,"options":{"__proto__":{"encrypt":false}}`, bad)
	with("callback a list", `,"callback_url":["https://a.example/"]`, bad)
	with("callback of javascript", `,"callback_url":"javascript:alert(1)"`, bad)
	with("callback with a line end", `,"callback_url":"https://a.example/\r\nHost: b"`, bad)
	with("callback with a backslash", `,"callback_url":"https://a.example\\@b.example/"`, bad)
	with("callback without slashes", `,"callback_url":"https:a.example"`, bad)
	with("callback of any scheme", `,"callback_url":"//a.example/"`, bad)

	source("climbs at the start", "../x", bad)
	source("climbs at the end", "x/..", bad)
	source("climbs alone", "..", bad)
	source("is a dot", ".", bad)
	source("with a dot between", "a/./b", bad)
	source("climbs by escape", `a/\u002e\u002e/b`, bad)
	source("climbs in percent", "a/%2e%2e/b", "")
	source("with three dots", "a/.../b", "")
	source("with a backslash", `a\\..\\b`, "")
	source("with two slashes", "a//b", "")
	source("begins with a slash by escape", `\u002fetc/passwd`, bad)
	source("empty", "", bad)
	source("of a URL", "http://169.254.169.254/latest", "")
	source("of an option", "-i", "")
	source("of a pipe", "|id", "")
	source("with a line end", `a\nb`, bad)
	source("with DEL", `a\u007f`, bad)
	source("with a C1 control", `a\u0085`, bad)
	source("with the character for what is no character", `a\ufffd`, bad)
	source("of half a pair, low", `\udc00`, bad)
	source("of pairs in the wrong order", `\udc00\ud800`, bad)
	source("of a good pair", `\ud83d\ude00.mp4`, "")
	source("of 1024 bytes", strings.Repeat("a", 1024), "")
	source("of 1025 bytes in 513 characters", strings.Repeat("ü", 512)+"a", bad)

	digest("empty", `""`)
	digest("of another length", `"`+hash+`00"`)
	digest("of MD5", `"`+hash[:32]+`"`)
	digest("in mixed case", `"A`+hash[1:]+`"`)
	digest("with a prefix", `"sha256:`+hash[7:]+`"`)
	digest("with 0x", `"0x`+hash[2:]+`"`)
	digest("with a space", `" `+hash[1:]+`"`)
	digest("with a line end", `"`+hash[1:]+`\n"`)
	digest("of full-width digits", `"`+strings.Repeat("\uff10", 64)+`"`)
	digest("of Arabic digits", `"`+strings.Repeat("\u0660", 32)+`"`)
	digest("of slashes", `"`+strings.Repeat("../", 21)+`x"`)
	digest("null", "null")
	digest("in a list", `["`+hash+`"]`)
	digest("in an object", `{"sha256":"`+hash+`"}`)
	digest("a number of 64 digits", strings.Repeat("1", 64))

	for _, kind := range []string{"", "video", "video:transcode ", "VIDEO:TRANSCODE", "video:transcode\x00", "job:run", "run:default", "asynq:{default}", strings.Repeat("x", 5000)} {
		list = append(list, Payload{Name: "type " + kind[:min(len(kind), 30)], Type: kind, Body: start + "}", Code: "type_unknown", Status: 400, Problem: "type_unknown"})
	}
	return append(list, Payload{
		Name: "type video:full with the options of the other", Type: "video:full", Body: start + `,"options":{"ladder":["240p"]}}`, Code: bad, Status: 400, Problem: bad,
	})
}

// WithType is the body as the API takes it: the type among its members. What
// is no object stays as it is.
func (p Payload) WithType() string {
	i := strings.IndexByte(p.Body, '{')
	if i < 0 {
		return p.Body
	}
	kind, _ := json.Marshal(p.Type) // a string
	member := `"type":` + string(kind)
	if rest := strings.TrimSpace(p.Body[i+1:]); rest != "}" {
		member += ","
	}
	return p.Body[:i+1] + member + p.Body[i+1:]
}
