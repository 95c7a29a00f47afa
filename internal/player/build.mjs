// Copies the two player libraries and their licences into dist/, from where
// the Go package embeds them.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const libraries = [
  { name: 'hls.js', file: 'dist/hls.min.js', as: 'hls.min.js' },
  { name: 'shaka-player', file: 'dist/shaka-player.compiled.js', as: 'shaka-player.compiled.js' },
];

let licenses = '';
for (const { name, file, as } of libraries) {
  const folder = join(here, 'node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  copyFileSync(join(folder, file), join(here, 'dist', as));
  licenses += `${name} ${version} (${license})\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8')}\n\n`;
  console.log(`dist/${as}: ${name} ${version}`);
}
writeFileSync(join(here, 'dist', 'licenses.txt'), licenses);
