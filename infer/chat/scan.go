package chat

// scanner checks a JSON value byte by byte and says where the members of its
// outermost object begin and end.
type scanner struct {
	stack []byte // open brackets
	state scanState
	hex   int  // digits of \u that are missing
	key   bool // the string being read is a key
	lit   string
}

type scanState uint8

const (
	scanValue  scanState = iota // a value begins
	scanFirst                   // a value or the end of an array
	scanMember                  // a key or the end of an object
	scanKey                     // a key
	scanColon
	scanNext // a comma or the end of what is open
	scanString
	scanEscape
	scanHex
	scanLiteral // the rest is in lit
	scanMinus   // of a number: what has been read
	scanZero
	scanInt
	scanPoint
	scanFrac
	scanE
	scanESign
	scanExp
	scanEnd
)

// scanEvent says what a byte did in the outermost object; several may be set.
type scanEvent uint8

const (
	keyEnds     scanEvent = 1 << iota // with this byte
	valueBegins                       // with this byte
	valueEnds                         // with this byte
	valueEnded                        // before this byte: only numbers
	objectEnds                        // with this byte
	notJSON
)

// maxCallDepth is how deep the arguments of a call may nest.
const maxCallDepth = 64

// step takes the next byte. After notJSON or objectEnds it must not be called.
func (s *scanner) step(b byte) scanEvent {
	switch s.state {
	case scanString:
		return s.inString(b)
	case scanEscape:
		return s.escape(b)
	case scanHex:
		if !isHex(b) {
			return notJSON
		}
		if s.hex--; s.hex == 0 {
			s.state = scanString
		}
		return 0
	case scanLiteral:
		if s.lit[0] != b {
			return notJSON
		}
		if s.lit = s.lit[1:]; s.lit == "" {
			return s.ended()
		}
		return 0
	case scanMinus, scanZero, scanInt, scanPoint, scanFrac, scanE, scanESign, scanExp:
		return s.inNumber(b)
	}
	if b == ' ' || b == '\t' || b == '\r' || b == '\n' {
		return 0
	}
	return s.between(b)
}

// between takes a byte that is no part of a string, number or literal.
func (s *scanner) between(b byte) scanEvent {
	switch s.state {
	case scanValue:
		return s.begin(b)
	case scanFirst:
		if b == ']' {
			return s.close('[')
		}
		return s.begin(b)
	case scanMember, scanKey:
		switch {
		case b == '"':
			s.state, s.key = scanString, true
			return 0
		case b == '}' && s.state == scanMember:
			return s.close('{')
		}
	case scanColon:
		if b == ':' {
			s.state = scanValue
			return 0
		}
	case scanNext:
		open := s.stack[len(s.stack)-1]
		switch {
		case b == ',' && open == '{':
			s.state = scanKey
			return 0
		case b == ',':
			s.state = scanValue
			return 0
		case b == '}':
			return s.close('{')
		case b == ']':
			return s.close('[')
		}
	}
	return notJSON
}

// begin takes the first byte of a value.
func (s *scanner) begin(b byte) scanEvent {
	var ev scanEvent
	if len(s.stack) == 1 {
		ev = valueBegins
	}
	switch {
	case b == '{' || b == '[':
		if len(s.stack) == maxCallDepth {
			return notJSON
		}
		s.stack = append(s.stack, b)
		if s.state = scanFirst; b == '{' {
			s.state = scanMember
		}
	case len(s.stack) == 0:
		return notJSON // only objects are asked about
	case b == '"':
		s.state, s.key = scanString, false
	case b == '-':
		s.state = scanMinus
	case b == '0':
		s.state = scanZero
	case b >= '1' && b <= '9':
		s.state = scanInt
	case b == 't':
		s.state, s.lit = scanLiteral, "rue"
	case b == 'f':
		s.state, s.lit = scanLiteral, "alse"
	case b == 'n':
		s.state, s.lit = scanLiteral, "ull"
	default:
		return notJSON
	}
	return ev
}

func (s *scanner) close(open byte) scanEvent {
	if s.stack[len(s.stack)-1] != open {
		return notJSON
	}
	s.stack = s.stack[:len(s.stack)-1]
	if len(s.stack) == 0 {
		s.state = scanEnd
		return objectEnds
	}
	return s.ended()
}

// ended follows a value inside the object.
func (s *scanner) ended() scanEvent {
	s.state = scanNext
	if len(s.stack) == 1 {
		return valueEnds
	}
	return 0
}

func (s *scanner) inString(b byte) scanEvent {
	switch {
	case b == '\\':
		s.state = scanEscape
	case b < ' ':
		return notJSON
	case b == '"' && s.key:
		s.state = scanColon
		if len(s.stack) == 1 {
			return keyEnds
		}
	case b == '"':
		return s.ended()
	}
	return 0
}

func (s *scanner) escape(b byte) scanEvent {
	switch b {
	case 'u':
		s.state, s.hex = scanHex, 4
		return 0
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.state = scanString
		return 0
	}
	return notJSON
}

// inNumber takes a byte that may go on with a number or follow it.
func (s *scanner) inNumber(b byte) scanEvent {
	digit := b >= '0' && b <= '9'
	switch st := s.state; {
	case st == scanMinus && b == '0':
		s.state = scanZero
	case st == scanMinus && digit:
		s.state = scanInt
	case st == scanInt && digit, st == scanFrac && digit, st == scanExp && digit:
	case st == scanPoint && digit:
		s.state = scanFrac
	case (st == scanE || st == scanESign) && digit:
		s.state = scanExp
	case st == scanE && (b == '+' || b == '-'):
		s.state = scanESign
	case (st == scanZero || st == scanInt) && b == '.':
		s.state = scanPoint
	case (st == scanZero || st == scanInt || st == scanFrac) && (b == 'e' || b == 'E'):
		s.state = scanE
	case st == scanZero || st == scanInt || st == scanFrac || st == scanExp:
		ev := scanEvent(0)
		if s.ended() == valueEnds {
			ev = valueEnded
		}
		return ev | s.step(b)
	default:
		return notJSON
	}
	return 0
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}
