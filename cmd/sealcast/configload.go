package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
)

// loader gathers settings and faults.
type loader struct {
	environ  environment
	settings []setting
	faults   []fault
}

func (l *loader) fault(name, wrong, set string) { l.faults = append(l.faults, fault{name, wrong, set}) }

func (l *loader) faulty(name string) bool {
	return slices.ContainsFunc(l.faults, func(f fault) bool { return f.name == name })
}

// value looks a variable up: itself, or for a secret the content of the file
// that NAME_FILE names, without one newline at its end. An empty variable
// counts as unset.
func (l *loader) value(name, set string, secret bool) (value, from string) {
	value = l.environ[name]
	if value != "" {
		from = "environment"
	}
	path := l.environ[name+"_FILE"]
	if !secret || path == "" {
		return value, from
	}
	if value != "" {
		l.fault(name, "is set twice, by "+name+" and by "+name+"_FILE", "only one of the two")
		return "", ""
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		l.fault(name, fmt.Sprintf("cannot be read from %s_FILE: %v", name, err), "a readable file that has "+set)
		return "", ""
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if s == "" {
		l.fault(name, fmt.Sprintf("cannot be read from %s_FILE: %s is empty", name, path), "a file that has "+set)
	}
	return s, path
}

// concern fills one concern's struct.
func (l *loader) concern(concern any) {
	v := reflect.ValueOf(concern).Elem()
	values := map[string]string{}
	byField := map[string]variable{}
	from := map[string]string{}
	vars := variablesOf(concern)
	for _, vr := range vars {
		byField[vr.field] = vr
		s, src := l.value(vr.name, vr.set, vr.secret)
		if s != "" {
			values[vr.name] = s
		}
		from[vr.name] = src
	}
	l.explain(env.ParseWithOptions(concern, env.Options{Environment: values}), byField)
	for _, vr := range vars {
		l.settings = append(l.settings, l.show(vr, v.FieldByName(vr.field), from[vr.name]))
	}
}

// checkWebhooks holds the two secrets against each other.
func (l *loader) checkWebhooks(c *webhookConfig) {
	const previous = "WEBHOOK_SECRET_PREVIOUS"
	switch now, before := c.Secret.reveal(), c.Previous.reveal(); {
	case before == "":
	case now == "" && !l.faulty("WEBHOOK_SECRET"):
		l.fault(previous, "is set, and WEBHOOK_SECRET is not", "WEBHOOK_SECRET, or remove it")
	case now == before:
		l.fault(previous, "is the same as WEBHOOK_SECRET", "the secret before, or remove it")
	}
}

// explain turns the library's errors into faults.
func (l *loader) explain(err error, byField map[string]variable) {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return
	}
	for _, err := range all.Errors {
		var unset env.VarIsNotSetError
		var parse env.ParseError
		switch {
		case errors.As(err, &unset):
			if l.faulty(unset.Key) {
				continue // its file could not be read, or it is set twice
			}
			for _, vr := range byField {
				if vr.name == unset.Key {
					l.fault(vr.name, "is not set", vr.set)
				}
			}
		case errors.As(err, &parse):
			vr := byField[parse.Name]
			l.fault(vr.name, parse.Err.Error(), vr.set)
		default:
			panic(err) // a mistake in a struct above, found by any test
		}
	}
}

// show says what check-config prints for a variable.
func (l *loader) show(vr variable, v reflect.Value, from string) setting {
	s := setting{name: vr.name, from: from}
	switch {
	case l.faulty(vr.name):
		s.shown = "[fault]"
		return s
	case from == "" && vr.byDefault == "":
		return s
	case from == "":
		s.from = "default"
	}
	if u, ok := v.Interface().(interface{ shownValue() string }); ok {
		s.shown = u.shownValue()
	} else {
		s.shown = strings.Trim(fmt.Sprint(v.Interface()), "[]")
	}
	if vr.secret && s.shown == strings.Trim(redacted, "[]") {
		s.shown = redacted
	}
	return s
}

var kekRE = regexp.MustCompile(`^KEK_([1-9][0-9]{0,8})(_FILE)?$`)

// keks reads every KEK_<n>. A name that begins with KEK_ and is none of ours
// is a fault: a mistyped version would otherwise go missing silently.
func (l *loader) keks(c *kekConfig) {
	c.Versions = map[int]kek{}
	versions := map[string]int{}
	seen := map[int]bool{}
	for _, name := range slices.Sorted(maps.Keys(l.environ)) {
		if !strings.HasPrefix(name, "KEK_") || name == "KEK_PRIMARY" || name == kekFileName || l.environ[name] == "" {
			continue
		}
		m := kekRE.FindStringSubmatch(name)
		if m == nil {
			l.fault(name, "is no name of a KEK version", "KEK_<n> or KEK_<n>_FILE with a number n from 1, or remove it")
			continue
		}
		n, _ := strconv.Atoi(m[1]) // the pattern allows digits only
		seen[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(seen)) {
		name := fmt.Sprintf("KEK_%d", n)
		value, from := l.value(name, setKEK, true)
		if !l.faulty(name) {
			var k kek
			err := k.UnmarshalText([]byte(value))
			twin, twice := versions[strings.ToLower(value)]
			switch {
			case err != nil:
				l.fault(name, err.Error(), setKEK)
			case strings.Trim(value, "0") == "":
				l.fault(name, "is all zero", setKEK)
			case twice:
				l.fault(name, fmt.Sprintf("has the same value as KEK_%d", twin), setKEK)
			default:
				c.Versions[n] = k
			}
			versions[strings.ToLower(value)] = n
		}
		shown := redacted
		if l.faulty(name) {
			shown = "[fault]"
		}
		l.settings = append(l.settings, setting{name, shown, from})
	}
	l.checkVault(c)
	switch p := int(c.Primary); {
	case len(seen) == 0:
		l.fault("KEK_<n>", "is not set for any version", setKEK)
	case p != 0 && !seen[p]:
		l.fault("KEK_PRIMARY", fmt.Sprintf("names version %d, and KEK_%d is not set", p, p), "it to a version that is there, or set KEK_"+strconv.Itoa(p))
	}
}

// variable is one field of a concern's struct.
type variable struct {
	field, name, set, byDefault string
	required, secret            bool
}

// variablesOf lists the variables of a concern's struct (given as a pointer),
// in the order of declaration.
func variablesOf(concern any) []variable {
	var out []variable
	for f := range reflect.TypeOf(concern).Elem().Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "-" {
			continue
		}
		_, secret := reflect.New(f.Type).Interface().(fileable)
		out = append(out, variable{
			field: f.Name, name: name, set: f.Tag.Get("set"), byDefault: f.Tag.Get("envDefault"),
			required: opts == "required", secret: secret,
		})
	}
	return out
}

// warnings are things that work and should be changed.
func (c *config) warnings() []string {
	var out []string
	if n := len(c.Token.Secret.reveal()); n > 0 && n < 32 {
		out = append(out, fmt.Sprintf("KEY_TOKEN_SECRET has %d bytes; 32 or more are safer: openssl rand -hex 32", n))
	}
	return out
}

// parseEnviron turns NAME=value lines into an environment; the last one wins.
func parseEnviron(lines []string) environment {
	e := environment{}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok {
			e[name] = value
		}
	}
	return e
}
