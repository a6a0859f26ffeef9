//! From places in the source that have code to the lines that a reader follows: a call of five lines has code on one or
//! two of them, a closing brace often none.

use std::collections::BTreeSet;

use proc_macro2::{LineColumn, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Arm, Block, Expr, ExprClosure, ExprForLoop, ExprIf, ExprLoop, ExprWhile, ImplItemFn, ItemFn, Stmt, TraitItemFn,
};

/// A piece of source that is executed or not, regardless of what is around it.
struct Region {
    start: LineColumn,
    end: LineColumn,
    executed: bool,
}

impl Region {
    fn contains(&self, at: LineColumn) -> bool {
        self.start <= at && at < self.end
    }
}

/// The lines that belong to what was executed, if code at the places `executed` was. Lines are from 1, columns from 0,
/// in characters.
pub fn lines_around(text: &str, executed: &BTreeSet<LineColumn>) -> BTreeSet<u32> {
    let mut finder = Finder::default();
    finder.visit_file(&syn::parse_file(text).unwrap());
    let Finder { mut regions, constants, opaque } = finder;

    let is_constant = |at: &LineColumn| constants.iter().any(|(statement, _)| regions[*statement].contains(*at));
    let evidence: Vec<_> = executed.iter().filter(|at| !is_constant(at)).copied().collect();
    for region in &mut regions {
        region.executed = evidence.iter().any(|at| region.contains(*at));
    }
    for (statement, next) in constants.iter().rev() {
        regions[*statement].executed = next.is_some_and(|next| regions[next].executed);
    }

    let mut lines = BTreeSet::new();
    let mut tokens = Vec::new();
    flatten(text.parse().unwrap(), &mut tokens);
    regions.sort_by_key(|region| (region.start, std::cmp::Reverse(region.end)));
    let (mut next, mut around) = (regions.iter().peekable(), Vec::<&Region>::new());
    for token in tokens {
        around.extend(std::iter::from_fn(|| next.next_if(|region| region.start <= token.start())));
        around.retain(|region| region.contains(token.start()));
        if around.last().is_some_and(|innermost| innermost.executed) {
            lines.extend(token.start().line as u32..=token.end().line as u32);
        }
    }
    // Nobody parses what is written inside of a macro of items: its lines with code are those with code.
    let in_macro = |at: &&LineColumn| opaque.iter().any(|item| item.contains(**at));
    lines.extend(executed.iter().filter(in_macro).map(|at| at.line as u32));
    lines
}

/// The spans of all tokens, in order; a group is its two delimiters.
fn flatten(tokens: TokenStream, into: &mut Vec<Span>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                into.push(group.span_open());
                flatten(group.stream(), into);
                into.push(group.span_close());
            }
            token => into.push(token.span()),
        }
    }
}

#[derive(Default)]
struct Finder {
    regions: Vec<Region>,
    /// Statements that bind a constant, each with the one after it. The compiler sets such variables up where the
    /// function begins, so having run says nothing about them.
    constants: Vec<(usize, Option<usize>)>,
    opaque: Vec<Region>,
}

impl Finder {
    fn add(&mut self, span: Span) {
        self.add_from(span, span);
    }

    fn add_from(&mut self, first: Span, last: Span) {
        self.regions.push(Region { start: first.start(), end: last.end(), executed: false });
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.add_from(item.sig.span(), item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.add_from(item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.add_from(item.sig.span(), body.span());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let mut before = None;
        for statement in &block.stmts {
            let this = self.regions.len();
            self.add(statement.span());
            if let Some(constant) = before.take() {
                self.constants.push((constant, Some(this)));
            }
            if is_constant(statement) {
                before = Some(this);
            }
            self.visit_stmt(statement);
        }
        self.constants.extend(before.map(|constant| (constant, None)));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some((_, otherwise)) = local.init.as_ref().and_then(|init| init.diverge.as_ref()) {
            self.add(otherwise.span());
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_if(&mut self, expr: &'ast ExprIf) {
        self.add(expr.then_branch.span());
        if let Some((_, otherwise)) = &expr.else_branch {
            self.add(otherwise.span());
        }
        visit::visit_expr_if(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        self.add(arm.span());
        self.add(arm.body.span());
        visit::visit_arm(self, arm);
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        self.add(closure.body.span());
        visit::visit_expr_closure(self, closure);
    }

    fn visit_expr_while(&mut self, expr: &'ast ExprWhile) {
        self.add(expr.body.span());
        visit::visit_expr_while(self, expr);
    }

    fn visit_expr_for_loop(&mut self, expr: &'ast ExprForLoop) {
        self.add(expr.body.span());
        visit::visit_expr_for_loop(self, expr);
    }

    fn visit_expr_loop(&mut self, expr: &'ast ExprLoop) {
        self.add(expr.body.span());
        visit::visit_expr_loop(self, expr);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let span = item.span();
        self.opaque.push(Region { start: span.start(), end: span.end(), executed: false });
    }
}

/// `let reason = "…";` and the like.
fn is_constant(statement: &Stmt) -> bool {
    let Stmt::Local(local) = statement else { return false };
    local.init.as_ref().is_some_and(|init| matches!(&*init.expr, Expr::Lit(_)))
}
