import type { LayerRule } from './rules.ts';

export interface Violation {
  file: string;
  line: number;
  rule: LayerRule;
  /** The import or the text that crossed the line. */
  found: string;
}

interface Import {
  module: string;
  line: number;
  dynamic: boolean;
}

const staticImport = /^(?:import|export)\s+(?!type\b)(?:[^'"`;]*?\bfrom\s*)?['"]([^'"]+)['"]/gm;
const dynamicImport = /\bimport\(\s*['"]([^'"]+)['"]\s*\)(?!\s*[.[]?\s*\w*\s*[>;]?\s*=>)/g;
const typeQuery = /\btypeof\s+import\([^)]*\)/g;

/** Every crossing of a rule in one file; `source` is its text. Pure. */
export function findViolations(file: string, source: string, rules: readonly LayerRule[]): Violation[] {
  const bare = blankComments(source).replace(typeQuery, (text) => ' '.repeat(text.length));
  const imports = importsOf(bare);
  return rules
    .filter((rule) => rule.files.test(file) && !rule.except?.test(file))
    .flatMap((rule) =>
      [...crossedImports(imports, rule), ...crossedText(bare, rule)].map((at) => ({ file, rule, ...at })),
    );
}

function crossedImports(imports: readonly Import[], rule: LayerRule): { line: number; found: string }[] {
  return imports
    .filter(({ module, dynamic }) => rule.imports?.test(module) && !(dynamic && rule.dynamic === 'allowed'))
    .map(({ module, line }) => ({ line, found: module }));
}

function crossedText(bare: string, rule: LayerRule): { line: number; found: string }[] {
  if (rule.text === undefined) return [];
  return bare.split('\n').flatMap((line, index) => {
    const found = rule.text?.exec(line)?.[0];
    return found === undefined ? [] : [{ line: index + 1, found }];
  });
}

function importsOf(bare: string): Import[] {
  const of = (pattern: RegExp, dynamic: boolean) =>
    [...bare.matchAll(pattern)].map((match) => ({
      module: match[1] ?? '',
      line: bare.slice(0, match.index).split('\n').length,
      dynamic,
    }));
  return [...of(staticImport, false), ...of(dynamicImport, true)];
}

/** Comments as spaces: lines keep their numbers. A `//` inside a string (an address) is no comment. */
function blankComments(source: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return source.replace(token, (text) => (text.startsWith('/') ? text.replace(/[^\n]/g, ' ') : text));
}
