package daemon

import (
	"reflect"
	"slices"
)

// Change compares two configurations. live lists the keys that differ and can
// take effect now, restart those that cannot.
func (c Config) Change(next Config) (live, restart []string) {
	walkKeys(reflect.ValueOf(c), reflect.ValueOf(next), "", false, func(key string, isLive, equal bool) {
		switch {
		case equal:
		case isLive:
			live = append(live, key)
		default:
			restart = append(restart, key)
		}
	})
	return live, restart
}

// WithLive is c with every live key taken from next.
func (c Config) WithLive(next Config) Config {
	copyLive(reflect.ValueOf(&c).Elem(), reflect.ValueOf(next))
	return c
}

// walkKeys visits every leaf of two configurations. The [[model]] list is one
// leaf, because its entries have no identity beyond their place.
func walkKeys(a, b reflect.Value, key string, live bool, visit func(key string, live, equal bool)) {
	if !isTable(a.Type()) {
		visit(key, live, reflect.DeepEqual(a.Interface(), b.Interface()))
		return
	}
	for i := range a.NumField() {
		f := a.Type().Field(i)
		name := f.Tag.Get("toml")
		if key != "" {
			name = key + "." + name
		}
		walkKeys(a.Field(i), b.Field(i), name, f.Tag.Get("reload") == "live", visit)
	}
}

func copyLive(dst, src reflect.Value) {
	for i := range dst.NumField() {
		f := dst.Type().Field(i)
		switch {
		case f.Tag.Get("reload") == "live":
			dst.Field(i).Set(src.Field(i))
		case isTable(f.Type):
			copyLive(dst.Field(i), src.Field(i))
		}
	}
}

// isTable tells a section of the file from a value that happens to be a struct.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !slices.Contains([]reflect.Type{
		reflect.TypeFor[Duration](), reflect.TypeFor[FileMode](), reflect.TypeFor[Level](),
	}, t)
}
