package grammar

// stringOf compiles the string keywords of a schema.
func (c *schemaCompiler) stringOf(v value, at string) (expr, error) {
	least, err := countOf(v, at, "minLength", 0)
	if err != nil {
		return nil, err
	}
	most, err := countOf(v, at, "maxLength", -1)
	if err != nil {
		return nil, err
	}
	limited := least > 0 || most >= 0
	pattern, hasPattern := v.get("pattern")
	format, hasFormat := v.get("format")
	switch {
	case hasPattern && hasFormat:
		return nil, refuse(at+"/format", "format is not supported beside pattern")
	case (hasPattern || hasFormat) && limited:
		return nil, refuse(at, "minLength and maxLength are not supported beside pattern and format: put the lengths into the pattern")
	case hasPattern:
		return c.pattern(pattern, at+"/pattern")
	case hasFormat:
		return c.format(format, at+"/format")
	case most >= 0 && least > most:
		return alt{}, nil
	case limited:
		return seq{literal(`"`), repeat{c.char, least, most}, literal(`"`)}, nil
	}
	return c.str, nil
}

func (c *schemaCompiler) pattern(v value, at string) (expr, error) {
	if v.kind != kindString {
		return nil, refuse(at, "must be a string, not %s", v.kind)
	}
	e, err := compilePattern(v.text)
	if err != nil {
		return nil, &SchemaError{Pointer: at, Err: err}
	}
	return seq{literal(`"`), e, literal(`"`)}, nil
}

// formats are the formats that are enforced, as patterns. Each matches a part
// of what is valid: February has 28 days, hosts are short names.
var formats = map[string]string{
	"date":      `^` + datePattern + `$`,
	"time":      `^` + timePattern + `$`,
	"date-time": `^` + datePattern + `T` + timePattern + `$`,
	"duration":  `^P([1-9][0-9]{0,3}D(T[1-9][0-9]{0,3}[HMS])?|T[1-9][0-9]{0,3}[HMS]|[1-9][0-9]{0,3}[WMY])$`,
	"email":     `^[a-z0-9]+([._+-][a-z0-9]+){0,4}@[a-z0-9]+(-[a-z0-9]+){0,2}(\.[a-z0-9]+){0,3}\.[a-z]{2,10}$`,
	"hostname":  `^[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}(\.[a-z0-9]{1,20}){0,3}$`,
	"ipv4":      `^` + octetPattern + `(\.` + octetPattern + `){3}$`,
	"ipv6":      `^[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}$`,
	"uuid":      `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`,
}

const (
	datePattern = `[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))`
	timePattern = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`

	octetPattern = `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
)

func (c *schemaCompiler) format(v value, at string) (expr, error) {
	p, ok := formats[v.text]
	if v.kind != kindString || !ok {
		return nil, refuse(at, "the format %.40s is not supported", v.json(nil))
	}
	return c.pattern(value{kind: kindString, text: p}, at)
}
