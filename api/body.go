package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

// decodeBody takes one JSON object with exact, unique and known names into the
// struct at into. A member that is absent leaves its field as it was, so that a
// PATCH begins with what is there. A body that is empty is an empty object.
func decodeBody(r *http.Request, into any) error {
	if r.ContentLength == 0 {
		return nil
	}
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	return decodeObject(body, into)
}

func decodeObject(body []byte, into any) error {
	members, err := parseObject(body)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for f := range reflect.TypeOf(into).Elem().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = true
	}
	for name := range members {
		if !known[name] {
			return invalidRequest(fmt.Sprintf("unknown field %q", shorten(name)))
		}
	}
	if err := json.Unmarshal(body, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return invalidRequest(fmt.Sprintf("%s: a value of the wrong kind", wrong.Field))
		}
		return invalidRequest("a value of the wrong kind; times are as in RFC 3339: 2027-01-31T12:00:00Z")
	}
	return nil
}
