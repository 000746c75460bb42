// Package grammar keeps a model's output inside a grammar: given what has been
// generated so far, it says which tokens may come next.
//
// Three sources become the same kind of [Grammar]: GBNF text ([ParseGBNF]), a
// JSON schema ([FromSchema]) and "any JSON object" ([JSONObject]). A Grammar is
// a set of rules, each a nondeterministic automaton over bytes whose edges may
// also call other rules: a pushdown automaton. It works on bytes because tokens
// do: a token may hold part of a character.
//
// # Masks
//
// [New] binds a Grammar to a [Vocabulary], a trie of the bytes of all tokens.
// Where a grammar stands is a configuration: a set of states with their stacks
// of return states. Which tokens may follow depends mostly on the innermost
// frame, so the trie is walked from the states of that frame alone, once, and
// the result is kept: the tokens that stay inside the frame, and the trie nodes
// where it is left, from which the walk goes on in the frame around it. A mask
// is the union of a few of these kept walks, whatever the depth of the stack.
//
// # Ends
//
// An end-of-generation token is allowed exactly where the grammar may end. The
// [Matcher] knows the fewest bytes that complete the output and, near the last
// token that there is room for, replaces the sampled token by the next one of a
// shortest completion: output that is cut off by a limit parses too.
//
// # Ownership and goroutines
//
// A Grammar and a Vocabulary are immutable. A [Constraint] has a lock around
// its caches and may be shared by any number of goroutines; a Matcher belongs
// to one sequence and one goroutine at a time.
//
// # Failure modes
//
// Sources are hostile: everything that grows is bounded, and a [LimitError]
// names the limit and the number. So is the work for one token, whoever asks for
// it: what is visited, copied, sorted or hashed counts, and what is kept of it. Left recursion, rules that can never end and
// names that are not defined are refused. What a JSON schema asks for and this
// package does not enforce is refused by keyword and JSON pointer
// ([SchemaError]), never ignored.
package grammar
