package task

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// zipfWeights are shares that fall with the rank to the power of 1.6, as the
// published cases' do. The first word makes up nearly half of a document. They
// are written out because powers may differ in the last bit between machines.
func zipfWeights() []int {
	return []int{
		1000000, 329877, 172427, 108819, 76146, 56880, 44447, 35897, 29731, 25119,
		21566, 18763, 16508, 14662, 13130, 11842, 10747, 9808, 8995, 8286,
		7664, 7114, 6626, 6190, 5798, 5446, 5126, 4837, 4573, 4331,
		4110, 3906, 3719, 3545, 3384, 3235, 3097, 2967, 2846, 2733,
	}
}

// frequent makes a document of words alone, each as often as Zipf's law says,
// so that the three most frequent ones are never in doubt.
func (g *generator) frequent() plan {
	weights := zipfWeights()
	vocab := words()
	g.Shuffle(len(vocab), func(i, j int) { vocab[i], vocab[j] = vocab[j], vocab[i] })
	vocab = vocab[:len(weights)]
	order := [2]uint64{g.Uint64(), g.Uint64()}
	top := vocab[:3]
	return plan{
		turns: []turn{{
			question: "Which three words are the most frequent, from most to least?",
			answer:   fmt.Sprintf("The most frequent words are %s.", strings.Join(top, ", ")),
			values:   top,
		}},
		least: leastWords(weights),
		unit:  "word",
		text: func(n int) string {
			var doc []string
			for i, times := range quotas(weights, n) {
				for range times {
					doc = append(doc, vocab[i])
				}
			}
			r := rand.New(rand.NewPCG(order[0], order[1]))
			r.Shuffle(len(doc), func(i, j int) { doc[i], doc[j] = doc[j], doc[i] })
			return " " + strings.Join(doc, " ") // the space makes the first word's token like the others'
		},
	}
}

// quotas divides n words by weight; rounding may make it a few more or fewer.
func quotas(weights []int, n int) []int {
	sum := total(weights)
	q := make([]int, len(weights))
	for i, w := range weights {
		q[i] = (n*w + sum/2) / sum
	}
	return q
}

// leastWords is the length from which on the quotas of the third and fourth
// rank, and so of all before them, lie one or more apart before rounding.
func leastWords(weights []int) int {
	apart := weights[2] - weights[3]
	return (total(weights) + apart - 1) / apart
}

func total(weights []int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	return sum
}
