package corpus

import "strings"

// Requests are raw requests for the API. These words stand in them: {HASH} and
// {CLEAR} for the hashes of an encrypted and a clear title, {TOKEN} for a
// playback token of the first, {KEY} for the API key, {DIR} for the prefix of
// their generation. The last request of each asks for the connection's end, or
// is one after which the server hangs up by itself.
func Requests() []Request {
	var list []Request
	put := func(name, wire string, status ...int) {
		list = append(list, Request{Name: name, Wire: wire, Status: status})
	}
	// get is one request of one line and some headers.
	get := func(name, line, headers string, status ...int) {
		put(name, line+" HTTP/1.1\r\nHost: a\r\n"+headers+"Connection: close\r\n\r\n", status...)
	}
	path := func(name, target string, status int) { get("path "+name, "GET "+target, "", status) }
	// post carries a job with the right key.
	post := func(name, headers, body string, status ...int) {
		put(name, "POST /api/jobs HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"+headers+"\r\n"+body, status...)
	}
	const (
		job   = `{"type":"video:transcode","hash":"` + hash + `","source":"a"}`
		next  = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
		media = "/stream/{CLEAR}/{DIR}/ts/720p/1.ts"
		end   = "Connection: close\r\n"
	)
	size := "Content-Length: 113\r\n"
	if len(job) != 113 {
		panic("the job has another length")
	}

	// Where a request ends: what one server takes for a body, another may take
	// for the next request.
	put("two requests in one packet", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"+next, 200, 200)
	post("length and chunks", size+"Transfer-Encoding: chunked\r\n", "0\r\n\r\n"+next, 400, 200)
	post("two lengths", size+"Content-Length: 5\r\n", job, 400)
	post("two lengths, one nothing", "Content-Length: 0\r\n"+size, job, 400)
	post("the same length twice", size+size+end, job, 202)
	post("lengths in a list", "Content-Length: 113, 113\r\n", job, 400)
	post("length with a sign", "Content-Length: +113\r\n", job, 400)
	post("length below zero", "Content-Length: -1\r\n", job, 400)
	post("length in hexadecimal", "Content-Length: 0x71\r\n", job, 400)
	post("length with an underscore", "Content-Length: 1_13\r\n", job, 400)
	post("length behind a space", "Content-Length : 113\r\n", job, 400)
	post("length of 2^64+113", "Content-Length: 18446744073709551729\r\n", job, 400)
	post("length of nothing at all", "Content-Length: \r\n", job, 400)
	post("unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", 501)
	post("two codings", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", 501)
	post("coding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 501)
	post("coding and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n", 501)
	post("coding with a vertical tab", "Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n", 400)
	post("coding in quotes", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", 501)
	post("coding behind a space", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n", 400)
	post("chunks", "Transfer-Encoding: chunked\r\n"+end, "71\r\n"+job+"\r\n0\r\n\r\n", 202)
	post("chunks with extensions", "Transfer-Encoding: chunked\r\n"+end, "71;a=b;c=\"d\"\r\n"+job+"\r\n0;e\r\n\r\n", 202)
	post("chunks with a trailer", "Transfer-Encoding: chunked\r\nTrailer: X-API-Key\r\n"+end, "71\r\n"+job+"\r\n0\r\nX-API-Key: other\r\n\r\n", 202)
	post("chunk of 2^64 bytes", "Transfer-Encoding: chunked\r\n", "10000000000000000\r\n"+job, 400)
	post("chunk of minus one", "Transfer-Encoding: chunked\r\n", "-1\r\n"+job, 400)
	post("chunk that is longer than it says", "Transfer-Encoding: chunked\r\n", "10\r\n"+job+"\r\n0\r\n\r\n", 400)
	post("chunk extension without end", "Transfer-Encoding: chunked\r\n", "71;"+strings.Repeat("x", 8000)+"\r\n"+job+"\r\n0\r\n\r\n", 400)
	put("body of a GET that looks like a request", "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET "+next, 200, 200)
	put("body that nobody reads", "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"+next, 404, 200)

	// Lines and headers.
	put("lines that end with LF alone", strings.ReplaceAll(next, "\r\n", "\n"), 200)
	put("empty lines before", "\r\n\r\n"+next, 400)
	get("folded header", "GET /api/key/{HASH}", "Authorization: Bearer\r\n {TOKEN}\r\n", 200)
	get("folded into another's value", "GET /api/key/{HASH}", "X: y\r\n Authorization: Bearer {TOKEN}\r\n", 401)
	get("CR alone in a value", "GET /healthz", "X: a\rb\r\n", 400)
	get("NUL in a value", "GET /healthz", "X: a\x00b\r\n", 400)
	get("header without a colon", "GET /healthz", "X\r\n", 400)
	get("header without a name", "GET /healthz", ": x\r\n", 400)
	get("name with a space", "GET /healthz", "X Y: x\r\n", 400)
	get("name with a bracket", "GET /healthz", "X(Y: x\r\n", 400)
	get("high bytes in a value", "GET /healthz", "X: \xff\xfe\r\n", 200)
	get("a header of 30 kB", "GET /healthz", "X: "+strings.Repeat("x", 30000)+"\r\n", 200)
	get("a header of 60 kB", "GET /healthz", "X: "+strings.Repeat("x", 60000)+"\r\n", 431)
	get("five thousand headers", "GET /healthz", strings.Repeat("X-Y: z\r\n", 5000)+"X: "+strings.Repeat("x", 9000)+"\r\n", 431)
	put("no host", "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400)
	get("two hosts", "GET /healthz", "Host: b\r\n", 400)
	put("host of another kind", "GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", 400)
	put("HTTP/1.0 without a host", "GET /healthz HTTP/1.0\r\n\r\n", 200)
	put("HTTP/0.9", "GET /healthz\r\n\r\n", 400)
	put("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404)
	put("HTTP/3.0", "GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n", 505)
	put("HTTP/1.10", "GET /healthz HTTP/1.10\r\nHost: a\r\n\r\n", 400)
	put("http in lower case", "GET /healthz http/1.1\r\nHost: a\r\n\r\n", 400)
	put("TLS on this port", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n", 400)
	put("another protocol", "EHLO a\r\n\r\n", 400)
	get("upgrade to WebSocket", "GET /healthz", "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n", 200)
	get("upgrade to h2c", "GET /healthz", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 200)

	// Methods and targets.
	for method, status := range map[string]int{"TRACE": 405, "get": 405, "PROPFIND": 405, "DELETE": 405, "PATCH": 405, "G(T": 400} {
		get("method "+method, method+" /healthz", "", status)
	}
	get("TRACE of a key", "TRACE /api/key/{HASH}", "Authorization: Bearer {TOKEN}\r\n", 405)
	get("POST of a key", "POST /api/key/{HASH}", "Authorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n", 405)
	get("method in a header", "GET /api/key/{HASH}", "X-HTTP-Method-Override: POST\r\n", 401)
	get("path in a header", "GET /healthz", "X-Original-URL: /api/key/{HASH}\r\nX-Rewrite-URL: /api/key/{HASH}\r\n", 200)
	get("OPTIONS of everything", "OPTIONS *", "", 200)
	get("GET of everything", "GET *", "", 404)
	get("CONNECT", "CONNECT 127.0.0.1:80", "", 404)
	get("absolute form", "GET http://b/healthz", "", 200)
	get("absolute form of a file", "GET file:///etc/passwd", "", 404)
	get("absolute form of another scheme", "GET gopher://b/healthz", "", 200)
	get("authority with a user", "GET http://u:p@b/healthz", "", 200)
	path("with %2f", "/stream%2f{CLEAR}/master.m3u8", 404)
	path("with %2F for a hash", "/api/key/{HASH}%2F..%2F{CLEAR}", 404)
	path("with %2e%2e", "/stream/{CLEAR}/%2e%2e/{HASH}/poster.jpg", 404)
	path("with dots", "/stream/{CLEAR}/../{HASH}/poster.jpg", 404)
	path("with a dot", "/./healthz", 404)
	path("with two slashes", "//healthz", 404)
	path("with a backslash", "/stream\\{CLEAR}\\master.m3u8", 404)
	path("with %5c", "/stream/{CLEAR}/..%5c{HASH}", 404)
	path("with %00", "/stream/{CLEAR}/master.m3u8%00.jpg", 404)
	path("with NUL", "/healthz\x00", 400)
	path("with a tab", "/health\tz", 400)
	path("with a space", "/health z", 400)
	path("with half an escape", "/healthz%2", 400)
	path("with a wrong escape", "/healthz%zz", 400)
	path("with overlong UTF-8", "/stream/{CLEAR}/%c0%ae%c0%ae/x", 404)
	path("with double encoding", "/stream/{CLEAR}/%252e%252e/x", 404)
	path("with a semicolon", "/healthz;x=/api/key/{HASH}", 404)
	path("in upper case", "/HEALTHZ", 404)
	path("with a slash behind", "/healthz/", 404)
	path("with an encoded letter", "/health%7a", 200)
	path("with a fragment", "/healthz#/api/key/{HASH}", 404)
	path("of 20 kB", "/stream/{CLEAR}/"+strings.Repeat("a", 20000), 404)
	path("of 60 kB", "/"+strings.Repeat("a", 60000), 431)
	path("of a thousand segments", strings.Repeat("/a", 1000), 404)
	path("relative", "healthz", 400)
	path("with a query of 20 kB", "/healthz?"+strings.Repeat("a=b&", 5000), 200)
	path("with a broken query", "/healthz?%zz=%", 200)
	path("with the hash in upper case", "/stream/"+strings.Repeat("AB", 32)+"/master.m3u8", 404)
	path("of another generation", "/stream/{CLEAR}/0011323344556677-2/ts/720p/1.ts", 404)
	path("of the store's prefix", "/stream/{CLEAR}/{DIR}/../../../uploads/x", 404)

	// Credentials.
	two := "Authorization: Bearer {TOKEN}\r\n"
	get("two credentials", "GET /api/key/{HASH}", two+two, 400)
	get("two credentials in two cases", "GET /api/key/{HASH}", two+"AUTHORIZATION: Bearer x\r\n", 400)
	get("credentials in a list", "GET /api/key/{HASH}", "Authorization: Bearer x, Bearer {TOKEN}\r\n", 403)
	get("Basic before Bearer", "GET /api/key/{HASH}", "Authorization: Basic eDp5\r\n"+two, 400)
	get("credentials with a tab", "GET /api/key/{HASH}", "Authorization: Bearer\t{TOKEN}\r\n", 401)
	get("credentials of the proxy", "GET /api/key/{HASH}", "Proxy-Authorization: Bearer {TOKEN}\r\n", 401)
	get("credentials in a cookie", "GET /api/key/{HASH}", "Cookie: token={TOKEN}\r\n", 401)
	get("credentials in the query alone", "GET /api/key/{HASH}?token={TOKEN}", "", 401)
	get("credentials of 30 kB", "GET /api/key/{HASH}", "Authorization: Bearer "+strings.Repeat("x", 30000)+"\r\n", 403)
	get("API key in two spellings", "GET /api/jobs/x", "X-API-Key: {KEY}\r\nx-api-key: {KEY}\r\n", 400)
	get("API key with underscores", "GET /api/jobs/x", "X_API_Key: {KEY}\r\n", 401)
	get("API key hidden as hop by hop", "GET /api/jobs/x", "X-API-Key: {KEY}\r\nConnection: X-API-Key\r\n", 404)

	// Ranges.
	for _, c := range []struct {
		header string
		status int
	}{
		{"Range: bytes=abc", 200},
		{"Range: bytes=5-2", 200},
		{"Range: bytes=0-0,1-1", 200},
		{"Range: bytes=" + strings.Repeat("0-,", 3000) + "0-", 200},
		{"Range: bytes=-0", 416},
		{"Range: bytes=36-", 416},
		{"Range: bytes=-99999999999999999999", 206},
		{"Range: bytes=0-99999999999999999999", 206},
		{"Range: bytes=99999999999999999999-", 416},
		{"Range: bytes=+1-2", 200},
		{"Range: bytes=1 - 2", 200},
		{"Range: bytes=0x1-2", 200},
		{"Range: items=0-1", 200},
		{"Range: bytes", 200},
		{"Range: =0-1", 200},
		{"Range: bytes=0-1\r\nRange: bytes=2-3", 200},
		{"Range: bytes=0-1\r\nIf-Range: Thu, 01 Jan 1970 00:00:00 GMT", 200},
	} {
		get(c.header[:min(len(c.header), 60)], "GET "+media, c.header+"\r\n", c.status)
	}

	// Bodies that do not come, or are too large.
	post("expectation with a body that is too large", "Expect: 100-continue\r\nContent-Length: 10000000\r\n", "", 413)
	post("a body that is too large by its length", "Content-Length: 10000000\r\n"+end, strings.Repeat(" ", 1000), 413)
	post("a body that is too large in chunks", "Transfer-Encoding: chunked\r\n"+end, strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 70)+"0\r\n\r\n", 413)
	post("expectation that nobody knows", "Expect: 200-ok\r\n"+size, job, 417)
	put("expectation without a key", "POST /api/jobs HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"+end+"\r\n", 401)
	post("a body that stops", size, job[:20], 400)
	return list
}
