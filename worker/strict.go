package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxPayload = 64 << 10 // bytes
	maxDepth   = 8        // nested objects and arrays
	maxPath    = 100      // bytes of a field's path in a message
)

// object is a decoded JSON object. Values are string, json.Number, bool, nil,
// []any or object.
type object map[string]any

// decodeObject reads exactly one JSON object (RFC 8259). It refuses what
// encoding/json lets pass: names that repeat or differ only in case, trailing
// data, deep nesting, invalid UTF-8.
func decodeObject(data []byte) (object, *RequestError) {
	if len(data) > maxPayload {
		return nil, &RequestError{CodePayloadTooLarge, fmt.Sprintf("the payload has %d bytes: at most %d are taken", len(data), maxPayload)}
	}
	if !utf8.Valid(data) {
		return nil, badPayload("the payload is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	value, err := decodeValue(dec, "", 0)
	if err != nil {
		var bad *RequestError
		if errors.As(err, &bad) {
			return nil, bad
		}
		return nil, badPayload("the payload is not JSON (near byte %d)", dec.InputOffset())
	}
	obj, ok := value.(object)
	if !ok {
		return nil, badPayload("the payload is not a JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badPayload("the payload has data after the JSON object")
	}
	return obj, nil
}

func decodeValue(dec *json.Decoder, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, badPayload("%s is nested too deeply", name(path))
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return decodeMembers(dec, path, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := decodeValue(dec, path+"["+strconv.Itoa(len(list))+"]", depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return token, nil
}

func decodeMembers(dec *json.Decoder, path string, depth int) (any, error) {
	obj, folded := object{}, map[string]string{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string) // the decoder allows only strings here
		at := join(path, key)
		fold := strings.ToLower(key)
		if first, dup := folded[fold]; dup {
			if first == key {
				return nil, badPayload("%s is there twice", name(at))
			}
			return nil, badPayload("%s and %s differ only in case", name(join(path, first)), name(at))
		}
		folded[fold] = key
		if obj[key], err = decodeValue(dec, at, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return obj, err
}

// reader takes the fields of one object. The first fault stays.
type reader struct {
	path string
	obj  object
	err  *RequestError
}

func (r *reader) fail(err *RequestError) {
	if r.err == nil {
		r.err = err
	}
}

// only refuses every name that is not in known.
func (r *reader) only(known ...string) {
	names := make([]string, 0, len(r.obj))
	for n := range r.obj {
		names = append(names, n)
	}
	slices.Sort(names) // the same fault each time
	for _, n := range names {
		if !slices.Contains(known, n) {
			r.fail(badPayload("unknown field %s: known here are %s", name(join(r.path, n)), strings.Join(known, ", ")))
		}
	}
}

func (r *reader) want(field, kind string) {
	r.fail(badPayload("%s must be %s", name(join(r.path, field)), kind))
}

func (r *reader) text(field string, dst *string) {
	v, there := r.obj[field]
	if !there {
		return
	}
	s, ok := v.(string)
	if !ok {
		r.want(field, "a string")
		return
	}
	*dst = s
}

func (r *reader) flag(field string, dst *bool) {
	v, there := r.obj[field]
	if !there {
		return
	}
	b, ok := v.(bool)
	if !ok {
		r.want(field, "true or false")
		return
	}
	*dst = b
}

func (r *reader) whole(field string, dst *int) {
	v, there := r.obj[field]
	if !there {
		return
	}
	n, ok := v.(json.Number)
	i, err := strconv.ParseInt(n.String(), 10, 32)
	if !ok || err != nil {
		r.want(field, "a whole number")
		return
	}
	*dst = int(i)
}

// number reads a decimal; an absent one stays as it is.
func (r *reader) number(field string, dst **float64) {
	v, there := r.obj[field]
	if !there {
		return
	}
	n, ok := v.(json.Number)
	f, err := n.Float64()
	if !ok || err != nil {
		r.want(field, "a number")
		return
	}
	*dst = &f
}

// decimal reads a decimal that has a default.
func (r *reader) decimal(field string, dst *float64) {
	var v *float64
	if r.number(field, &v); v != nil {
		*dst = *v
	}
}

// maxMetadata bounds what is carried through for a client, in bytes of JSON.
const maxMetadata = 8 << 10

// metadata takes an object as it is; names in order, so that two spellings of
// one object are equal.
func (r *reader) metadata(field string, dst *json.RawMessage) {
	v, there := r.obj[field]
	if !there {
		return
	}
	o, ok := v.(object)
	if !ok {
		r.want(field, "an object")
		return
	}
	data, err := json.Marshal(o)
	switch {
	case err != nil, strings.Contains(string(data), `\u0000`): // Postgres stores no NUL
		r.want(field, "an object without NUL characters")
	case len(data) > maxMetadata:
		r.fail(badPayload("%s has %d bytes: at most %d are carried", name(join(r.path, field)), len(data), maxMetadata))
	default:
		*dst = data
	}
}

func (r *reader) texts(field string, dst *[]string) {
	v, there := r.obj[field]
	if !there {
		return
	}
	list, ok := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, isText := e.(string)
		ok = ok && isText
		out = append(out, s)
	}
	if !ok {
		r.want(field, "a list of strings")
		return
	}
	*dst = out
}

func (r *reader) wholes(field string, dst *[]int) {
	v, there := r.obj[field]
	if !there {
		return
	}
	list, ok := v.([]any)
	out := make([]int, 0, len(list))
	for _, e := range list {
		n, _ := e.(json.Number)
		i, err := strconv.ParseInt(n.String(), 10, 32)
		ok = ok && err == nil
		out = append(out, int(i))
	}
	if !ok {
		r.want(field, "a list of whole numbers")
		return
	}
	*dst = out
}

// sub opens the object in field; an absent one is empty.
func (r *reader) sub(field string) *reader {
	v, there := r.obj[field]
	if !there {
		return &reader{path: join(r.path, field), obj: object{}}
	}
	o, ok := v.(object)
	if !ok {
		r.want(field, "an object")
	}
	return &reader{path: join(r.path, field), obj: o}
}

// optional reads the object in field, which has no other than the known fields,
// when it is there.
func (r *reader) optional(field string, read func(in *reader), known ...string) {
	if _, there := r.obj[field]; !there {
		return
	}
	in := r.sub(field)
	in.only(known...)
	read(in)
	if in.err != nil {
		r.fail(in.err)
	}
}

// join extends a path for messages. It stops growing early: many members
// under one long name must not cost memory.
func join(path, field string) string {
	if len(path) > maxPath {
		return path
	}
	if len(field) > maxPath {
		field = strings.ToValidUTF8(field[:maxPath], "") + "…"
	}
	if path == "" {
		return field
	}
	return path + "." + field
}

// name quotes a path for a message; a stranger wrote it, so it is cut short.
func name(path string) string {
	if path == "" {
		return "the payload"
	}
	if len(path) > maxPath {
		path = strings.ToValidUTF8(path[:maxPath], "") + "…"
	}
	return strconv.Quote(path)
}
