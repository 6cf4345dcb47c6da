import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { findViolations } from './layers/find-violations.ts';
import { layerRules } from './layers/rules.ts';

const root = resolve(import.meta.dirname, '..');

function sourcesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const src = join(root, folder, entry.name, 'src');
    if (!entry.isDirectory()) return [];
    return readdirSync(src, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => relative(root, join(src, name)));
  });
}

const files = [...sourcesOf('apps'), ...sourcesOf('packages')].toSorted();
const violations = files.flatMap((file) => findViolations(file, readFileSync(join(root, file), 'utf8'), layerRules));
for (const { file, line, rule, found } of violations) {
  process.stderr.write(`${file}:${line}: ${found.trim()}: ${rule.name} (${rule.why})\n`);
}
process.stderr.write(`layers: ${files.length} files, ${layerRules.length} rules, ${violations.length} crossed\n`);
process.exitCode = violations.length === 0 ? 0 : 1;
