package chat

import (
	"fmt"
	"strings"
	"time"
)

// layouts are the conversions of Python's strftime in the C locale that are one
// Go layout.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan",
	'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002",
	'D': "01/02/06", 'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04",
	'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}

// strftime formats a time without zone, as datetime.now().strftime does. "%-d"
// drops a leading zero, as in the GNU C library.
func strftime(t time.Time, format string) (string, error) {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(format, "%")
		b.WriteString(text)
		if !found {
			return b.String(), nil
		}
		rest, trim := strings.CutPrefix(rest, "-")
		if rest == "" {
			return "", fmt.Errorf("strftime format ends in '%%'")
		}
		out, err := convert(t, rest[0])
		if err != nil {
			return "", err
		}
		if trim && len(out) > 1 {
			out = strings.TrimLeft(out[:len(out)-1], "0 ") + out[len(out)-1:]
		}
		b.WriteString(out)
		format = rest[1:]
	}
}

func convert(t time.Time, c byte) (string, error) {
	if layout, ok := layouts[c]; ok {
		return t.Format(layout), nil
	}
	switch c {
	case '%':
		return "%", nil
	case 'n':
		return "\n", nil
	case 't':
		return "\t", nil
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), nil
	case 'z', 'Z': // a naive datetime has no zone
		return "", nil
	case 'u':
		return fmt.Sprint((int(t.Weekday())+6)%7 + 1), nil
	case 'w':
		return fmt.Sprint(int(t.Weekday())), nil
	case 's':
		return fmt.Sprint(t.Unix()), nil
	}
	return "", fmt.Errorf("strftime conversion '%%%c' is not supported", c)
}
