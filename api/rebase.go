package api

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// Entry documents have a fixed address, /stream/{hash}/{name}. What they refer
// to lies in the generation, /stream/{hash}/{prefix}/…. In the object store
// both are siblings; rebasing makes up for the difference.

var schemePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// uriTags are the tags with an attribute list that may have a URI
// (RFC 8216, 4.3).
var uriTags = []string{
	"#EXT-X-MEDIA:", "#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-SESSION-DATA:", "#EXT-X-SESSION-KEY:",
	"#EXT-X-KEY:", "#EXT-X-MAP:",
}

// rebasePlaylist makes the relative URIs of a playlist lead into the prefix.
// The name is the playlist's own within the prefix, as in "ts/master.m3u8".
func rebasePlaylist(doc []byte, name, prefix string) ([]byte, error) {
	return rewritePlaylist(doc, func(uri string) (string, error) { return rebaseURI(uri, name, prefix) })
}

// rebaseURI makes a relative URI of the document name lead into the prefix.
func rebaseURI(uri, name, prefix string) (string, error) {
	target, query, err := resolveURI(uri, name)
	if err != nil || target == "" {
		return uri, err
	}
	return strings.Repeat("../", strings.Count(name, "/")) + prefix + "/" + target + query, nil
}

// rewritePlaylist gives each URI of a playlist another spelling: URI lines and
// URI attributes. Everything else stays byte for byte.
func rewritePlaylist(doc []byte, rewrite func(uri string) (string, error)) ([]byte, error) {
	if !bytes.HasPrefix(doc, []byte("#EXTM3U")) {
		return nil, errors.New("playlist does not begin with #EXTM3U")
	}
	lines := strings.Split(string(doc), "\n")
	for i, line := range lines {
		text, end := strings.CutSuffix(line, "\r")
		rebased, err := rewriteLine(text, rewrite)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if end {
			rebased += "\r"
		}
		lines[i] = rebased
	}
	return []byte(strings.Join(lines, "\n")), nil
}

func rewriteLine(line string, rewrite func(string) (string, error)) (string, error) {
	switch {
	case line == "":
		return line, nil
	case line[0] != '#':
		return rewrite(line)
	}
	for _, tag := range uriTags {
		if attributes, ok := strings.CutPrefix(line, tag); ok {
			rewritten, err := rewriteAttributes(attributes, rewrite)
			return tag + rewritten, err
		}
	}
	return line, nil
}

// rewriteAttributes walks an attribute list (RFC 8216, 4.2): a quoted value may
// hold commas, and the letters URI= too.
func rewriteAttributes(list string, rewrite func(string) (string, error)) (string, error) {
	var out strings.Builder
	for rest := list; rest != ""; {
		attribute, value, ok := strings.Cut(rest, "=")
		if !ok || strings.Trim(attribute, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return "", errors.New("attribute without a name and a value")
		}
		out.WriteString(attribute + "=")
		quoted := strings.HasPrefix(value, `"`)
		var end int
		if quoted {
			if end = strings.IndexByte(value[1:], '"') + 2; end < 2 {
				return "", errors.New("quoted string without an end")
			}
		} else if end = strings.IndexByte(value, ','); end < 0 {
			end = len(value)
		}
		if attribute == "URI" {
			if !quoted {
				return "", errors.New("URI is not a quoted string")
			}
			uri, err := rewrite(value[1 : end-1])
			if err != nil {
				return "", err
			}
			out.WriteString(`"` + uri + `"`)
		} else {
			out.WriteString(value[:end])
		}
		rest = value[end:]
		if rest != "" {
			if rest[0] != ',' {
				return "", errors.New("no comma between attributes")
			}
			out.WriteByte(',')
			rest = rest[1:]
		}
	}
	return out.String(), nil
}

// resolveURI gives the object within the prefix that a relative URI of the
// document name means, and the URI's query and fragment. A URI with a scheme, a
// host or an absolute path means none.
func resolveURI(uri, name string) (target, query string, err error) {
	if schemePattern.MatchString(uri) || strings.HasPrefix(uri, "/") {
		return "", "", nil
	}
	file := uri
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		file, query = uri[:i], uri[i:]
	}
	target = path.Join(path.Dir(name), file)
	if last := file[strings.LastIndexByte(file, '/')+1:]; last == "" || last == "." || last == ".." ||
		strings.Contains(file, "//") || !namePattern.MatchString(target) {
		return "", "", errors.New("relative URI does not name an object of the generation")
	}
	return target, query, nil
}

// rebaseManifest gives an MPD a BaseURL (ISO/IEC 23009-1, 5.6) as the first
// child of its root, on the line that is there.
func rebaseManifest(doc []byte, name, prefix string) ([]byte, error) {
	base := strings.Repeat("../", strings.Count(name, "/")) + prefix
	if dir := path.Dir(name); dir != "." {
		base += "/" + dir
	}
	return insertBase(doc, base+"/")
}

func insertBase(doc []byte, base string) ([]byte, error) {
	dec := xml.NewDecoder(bytes.NewReader(doc))
	depth, insert := 0, int64(0)
	for {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			switch {
			case depth == 0 && (insert != 0 || t.Name.Local != "MPD" || !bytes.HasPrefix(doc[start:], []byte("<MPD"))):
				return nil, errors.New("manifest: the root is not one MPD without a namespace prefix")
			case depth == 0:
				insert = dec.InputOffset()
			case depth == 1 && t.Name.Local == "BaseURL":
				return nil, errors.New("manifest: it has a BaseURL of its own")
			}
			depth++
		case xml.EndElement:
			depth--
		case xml.Directive:
			return nil, errors.New("manifest: it has a document type")
		}
	}
	if insert == 0 || doc[insert-2] == '/' {
		return nil, errors.New("manifest: it has no content")
	}
	return []byte(string(doc[:insert]) + "<BaseURL>" + base + "</BaseURL>" + string(doc[insert:])), nil
}
