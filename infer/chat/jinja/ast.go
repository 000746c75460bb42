package jinja

// at is the line of a node; every node embeds it.
type at struct{ line int }

func (a at) pos() int { return a.line }

// expr is an expression node.
type expr interface{ pos() int }

type (
	constExpr struct {
		at
		val any
	}
	nameExpr struct {
		at
		name string
	}
	seqExpr struct { // list or tuple literal
		at
		items []expr
		tuple bool
	}
	dictExpr struct {
		at
		keys, vals []expr
	}
	attrExpr struct {
		at
		obj  expr
		name string
	}
	itemExpr struct {
		at
		obj, key expr
	}
	sliceExpr struct {
		at
		obj          expr
		lo, hi, step expr // nil where absent
	}
	callExpr struct {
		at
		fn   expr
		args argExprs
	}
	filterExpr struct {
		at
		obj  expr // nil: the captured text of a filter or set block
		name string
		args argExprs
	}
	testExpr struct {
		at
		obj  expr
		name string
		args argExprs
	}
	unaryExpr struct {
		at
		op string // "-", "+" or "not"
		x  expr
	}
	binaryExpr struct {
		at
		op   string
		l, r expr
	}
	logicExpr struct { // and, or
		at
		and  bool
		l, r expr
	}
	compareExpr struct { // a < b < c
		at
		first expr
		ops   []string
		rest  []expr
	}
	concatExpr struct {
		at
		parts []expr
	}
	condExpr struct {
		at
		test, then, orElse expr // orElse may be nil
	}
)

// argExprs are the arguments of a call, filter or test.
type argExprs struct {
	pos      []expr
	kwNames  []string
	kwVals   []expr
	star     expr // *args, or nil
	starStar expr // **kwargs, or nil
}

// stmt is a statement node.
type stmt interface{ pos() int }

type (
	textStmt struct {
		at
		text string
	}
	outputStmt struct {
		at
		x expr
	}
	ifStmt struct {
		at
		tests  []expr
		bodies [][]stmt
		orElse []stmt
	}
	forStmt struct {
		at
		target    target
		iter      expr
		test      expr // nil: every item
		body      []stmt
		orElse    []stmt
		recursive bool
	}
	setStmt struct {
		at
		target target
		val    expr
	}
	setBlockStmt struct {
		at
		target target
		filter expr // chain ending in a filterExpr with nil obj, or nil
		body   []stmt
	}
	macroStmt struct {
		at
		*macroDef
	}
	callStmt struct { // {% call %}: a macro call with its body as caller()
		at
		call   *callExpr
		caller *macroDef
	}
	filterStmt struct {
		at
		filter expr
		body   []stmt
	}
	withStmt struct {
		at
		targets []target
		vals    []expr
		body    []stmt
	}
	scopeStmt struct { // {% generation %}
		at
		body []stmt
	}
	jumpStmt struct { // {% break %}, {% continue %}
		at
		to jump
	}
)

// macroDef is a macro or the body of a call block.
type macroDef struct {
	line        int
	name        string
	params      []string
	defaults    []expr // of the last len(defaults) params
	body        []stmt
	usesVarargs bool
	usesKwargs  bool
	usesCaller  bool
}

// target is what an assignment stores to: a name, an attribute of a namespace,
// or a tuple of targets.
type target struct {
	line  int
	name  string
	attr  string // not empty: attribute of the namespace in name
	tuple []target
}
