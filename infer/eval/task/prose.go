package task

// Prose is the English text that documents are filled with, some 3,000 words.
func Prose() string { return haystackText }
