import ts from 'typescript';

/** Name of the switch in the compiled file: the number of the mutant that lives, or the function that notes which was reached. */
const SWITCH = '$mutant';
const WIDTH = 70;
const S = ts.SyntaxKind;
const f = ts.factory;

const SWAPS = new Map([
  [S.LessThanToken, S.LessThanEqualsToken],
  [S.LessThanEqualsToken, S.LessThanToken],
  [S.GreaterThanToken, S.GreaterThanEqualsToken],
  [S.GreaterThanEqualsToken, S.GreaterThanToken],
  [S.EqualsEqualsEqualsToken, S.ExclamationEqualsEqualsToken],
  [S.ExclamationEqualsEqualsToken, S.EqualsEqualsEqualsToken],
  [S.PlusToken, S.MinusToken],
  [S.MinusToken, S.PlusToken],
  [S.AsteriskToken, S.SlashToken],
  [S.SlashToken, S.AsteriskToken],
  [S.PercentToken, S.AsteriskToken],
  [S.AmpersandToken, S.BarToken],
  [S.BarToken, S.AmpersandToken],
  [S.CaretToken, S.AmpersandToken],
  [S.LessThanLessThanToken, S.GreaterThanGreaterThanToken],
  [S.GreaterThanGreaterThanToken, S.LessThanLessThanToken],
  [S.GreaterThanGreaterThanGreaterThanToken, S.LessThanLessThanToken],
  [S.AmpersandAmpersandToken, S.BarBarToken],
  [S.BarBarToken, S.AmpersandAmpersandToken],
  [S.PlusEqualsToken, S.MinusEqualsToken],
  [S.MinusEqualsToken, S.PlusEqualsToken],
  [S.BarEqualsToken, S.AmpersandEqualsToken],
  [S.AmpersandEqualsToken, S.BarEqualsToken],
  [S.CaretEqualsToken, S.AmpersandEqualsToken],
  [S.LessThanLessThanEqualsToken, S.GreaterThanGreaterThanEqualsToken],
  [S.GreaterThanGreaterThanEqualsToken, S.LessThanLessThanEqualsToken],
]);

/**
 * Compiles one source file with all its mutants in it, each behind a switch, so that one compilation serves every run.
 * Mutants are numbered from `first`. `js` compares with `globalThis.drawbridgeMutant`, which costs next to nothing;
 * `noting` calls it with the number of each mutant that is reached.
 */
export function mutate(text, fileName, first) {
  const { js, mutants } = compile(text, fileName, first, false);
  return { js, mutants, noting: compile(text, fileName, first, true).js };
}

function compile(text, fileName, first, noting) {
  const mutants = [];
  let source;
  const printer = ts.createPrinter({ removeComments: true });
  const print = node => {
    const line = printer.printNode(ts.EmitHint.Unspecified, node, source).replace(/\s+/g, ' ');
    return line.length > WIDTH ? `${line.slice(0, WIDTH - 1)}…` : line;
  };
  const switchOf = (node, to) => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    mutants.push({ line: line + 1, from: print(node), to: to === undefined ? '(deleted)' : print(to) });
    const name = f.createIdentifier(SWITCH);
    const number = f.createNumericLiteral(first + mutants.length - 1);
    return noting ? f.createCallExpression(name, undefined, [number]) : f.createStrictEquality(name, number);
  };

  const transformer = context => {
    const visit = node => {
      if (notCode(node)) return node;
      if (deletable(node)) {
        const on = switchOf(node, undefined);
        // In a block, or an `else` behind it would become its own.
        return f.createBlock([
          f.createIfStatement(
            f.createLogicalNot(f.createParenthesizedExpression(on)),
            ts.visitEachChild(node, visit, context),
          ),
        ]);
      }
      // The switches of a node stand before those inside it, in the order of the text. A mutant holds the node's
      // children as they were, for only one mutant lives at a time.
      const variants = variantsOf(node).map(to => ({ to, on: switchOf(node, to) }));
      return variants.reduceRight(
        (otherwise, { to, on }) =>
          f.createParenthesizedExpression(f.createConditionalExpression(on, undefined, to, undefined, otherwise)),
        ts.visitEachChild(node, visit, context),
      );
    };
    return root => {
      source = root;
      const visited = ts.visitEachChild(root, visit, context);
      return f.updateSourceFile(visited, [switchDeclaration(noting), ...visited.statements]);
    };
  };

  const { outputText } = ts.transpileModule(text, {
    fileName,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      isolatedModules: true,
    },
    transformers: { before: [transformer] },
  });
  return { js: outputText, mutants };
}

function switchDeclaration(noting) {
  const given = f.createPropertyAccessExpression(f.createIdentifier('globalThis'), 'drawbridgeMutant');
  const deaf = f.createParenthesizedExpression(
    f.createArrowFunction(undefined, undefined, [], undefined, undefined, f.createFalse()),
  );
  const value = noting ? f.createLogicalOr(given, deaf) : given;
  const declaration = f.createVariableDeclaration(SWITCH, undefined, undefined, value);
  return f.createVariableStatement(undefined, f.createVariableDeclarationList([declaration], ts.NodeFlags.Const));
}

/** Types, imports, names of properties, directives, and the sentences of our own exceptions. */
function notCode(node) {
  return (
    ts.isTypeNode(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isImportDeclaration(node) ||
    ts.isExportDeclaration(node) ||
    ts.isTaggedTemplateExpression(node) ||
    (ts.isExpressionStatement(node) && ts.isStringLiteral(node.expression)) ||
    ((ts.isStringLiteral(node) || ts.isNumericLiteral(node)) && node.parent.name === node) ||
    (isText(node) && ts.isNewExpression(node.parent) && ts.isThrowStatement(node.parent.parent))
  );
}

function isText(node) {
  return ts.isStringLiteral(node) || ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node);
}

function deletable(node) {
  if (ts.isExpressionStatement(node)) {
    return !(ts.isCallExpression(node.expression) && node.expression.expression.kind === S.SuperKeyword);
  }
  return (
    ts.isThrowStatement(node) ||
    ts.isBreakOrContinueStatement(node) ||
    (ts.isReturnStatement(node) && node.expression === undefined)
  );
}

/** What may stand in the place of an expression. */
function variantsOf(node) {
  if (!ts.isExpression(node)) return [];
  const { parent } = node;
  const out = [];
  const literal = isLiteral(node);
  if (!literal) {
    if ((ts.isIfStatement(parent) && parent.expression === node) || isTest(parent, node))
      out.push(f.createTrue(), f.createFalse());
    // Never `true`: a loop without an end says nothing that its deadline doesn't.
    else if (ts.isIterationStatement(parent, false) && (parent.expression === node || parent.condition === node))
      if (!ts.isForOfStatement(parent) && !ts.isForInStatement(parent)) out.push(f.createFalse());
    if (ts.isReturnStatement(parent) && !(ts.isIdentifier(node) && node.text === 'undefined'))
      out.push(f.createVoidZero());
  }
  if (ts.isBinaryExpression(node)) {
    const { left, right } = node;
    const to = SWAPS.get(node.operatorToken.kind);
    // Text minus text is no slip that anybody makes.
    if (to !== undefined && !(node.operatorToken.kind === S.PlusToken && (isText(left) || isText(right))))
      out.push(f.createBinaryExpression(left, to, right));
    if (node.operatorToken.kind === S.QuestionQuestionToken) out.push(left, right);
  } else if (ts.isPrefixUnaryExpression(node) && node.operator === S.ExclamationToken) {
    out.push(node.operand);
  } else if (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) {
    if (!(ts.isForStatement(parent) && parent.incrementor === node)) out.push(...countedTheOtherWay(node));
  } else if (node.kind === S.TrueKeyword) out.push(f.createFalse());
  else if (node.kind === S.FalseKeyword) out.push(f.createTrue());
  else if (isText(node))
    out.push(f.createStringLiteral(ts.isTemplateExpression(node) || node.text !== '' ? '' : 'mutant'));
  else if (ts.isNumericLiteral(node)) out.push(f.createNumericLiteral(Number(node.text) + 1));
  else if (ts.isBigIntLiteral(node)) out.push(f.createBigIntLiteral(`${BigInt(node.text.slice(0, -1)) + 1n}n`));
  else if (ts.isArrayLiteralExpression(node) && node.elements.length > 0 && !isTarget(node))
    out.push(f.createArrayLiteralExpression([]));
  else if (ts.isObjectLiteralExpression(node) && node.properties.length > 0 && !isTarget(node))
    out.push(f.createObjectLiteralExpression([]));
  else if (ts.isOptionalChain(node) && !(ts.isOptionalChain(parent) && parent.expression === node)) {
    for (let link = node; ts.isOptionalChain(link); link = link.expression)
      if (link.questionDotToken !== undefined) out.push(withoutQuestion(node, link));
  }
  return out;
}

function isLiteral(node) {
  return (
    isText(node) ||
    ts.isNumericLiteral(node) ||
    ts.isBigIntLiteral(node) ||
    node.kind === S.TrueKeyword ||
    node.kind === S.FalseKeyword
  );
}

function isTest(parent, node) {
  return ts.isConditionalExpression(parent) && parent.condition === node;
}

/** The left side of an assignment that takes apart. */
function isTarget(node) {
  return (
    ts.isBinaryExpression(node.parent) && node.parent.left === node && node.parent.operatorToken.kind === S.EqualsToken
  );
}

function countedTheOtherWay(node) {
  const operator = { [S.PlusPlusToken]: S.MinusMinusToken, [S.MinusMinusToken]: S.PlusPlusToken }[node.operator];
  if (operator === undefined) return [];
  return ts.isPrefixUnaryExpression(node)
    ? [f.createPrefixUnaryExpression(operator, node.operand)]
    : [f.createPostfixUnaryExpression(node.operand, operator)];
}

/** The chain `node` with a plain dot at `link`. */
function withoutQuestion(node, link) {
  if (!ts.isOptionalChain(node)) return node;
  const question = node === link ? undefined : node.questionDotToken;
  const inner = withoutQuestion(node.expression, link);
  if (ts.isPropertyAccessExpression(node)) return f.createPropertyAccessChain(inner, question, node.name);
  if (ts.isElementAccessExpression(node)) return f.createElementAccessChain(inner, question, node.argumentExpression);
  if (ts.isCallExpression(node)) return f.createCallChain(inner, question, node.typeArguments, node.arguments);
  return f.createNonNullChain(inner);
}
