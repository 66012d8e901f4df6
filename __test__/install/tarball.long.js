'use strict';

// The tarball that carries its binary, with each package manager: put into a project, which is then copied elsewhere and
// installed there.

const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const install = require('../helpers/install');
const { installManagers } = require('../helpers/package-managers');

const scratch = install.scratchDirectory({ after });
const env = install.userEnvironment(path.join(scratch, 'home'));

/** @type {Awaited<ReturnType<typeof installManagers>>} */
let managers;
/** @type {string} */
let tarball;
before(async () => {
  managers = await installManagers(path.join(scratch, 'managers'), env);
  tarball = await install.packCarrying(path.join(scratch, 'packed'), env);
});

for (const id of ['npm-10', 'npm-11', 'pnpm', 'yarn-1', 'yarn-4', 'yarn-4-pnp']) {
  test(id, async () => {
    const { add, deploy, command, files = {}, env: own } = managers[id];
    const options = { ...env, ...own };
    const developed = install.makeProject(path.join(scratch, id));
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(developed, name), text);
    fs.mkdirSync(path.join(developed, 'vendor'));
    fs.copyFileSync(tarball, path.join(developed, 'vendor', path.basename(tarball)));
    const spec = `./vendor/${path.basename(tarball)}`;
    await install.run(add(spec), { cwd: developed, env: options });

    const deployed = install.deploy(developed, path.join(scratch, `${id}-deployed`));
    fs.rmSync(developed, { recursive: true });
    await install.run(deploy, { cwd: deployed, env: options });
    await install.assertRunsNatively(deployed, { env: options, command });
  });
}
