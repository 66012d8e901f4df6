'use strict';

// Corral from a git address: the package manager clones it, builds it from its sources and packs that.

const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const install = require('../helpers/install');
const { serveRepositories } = require('../helpers/git-server');
const { installManagers } = require('../helpers/package-managers');

const scratch = install.scratchDirectory({ after });
/** Each of them builds twice. What a build is like is for others to test: these are the quick ones, with one set of crates. */
const env = {
  ...install.userEnvironment(path.join(scratch, 'home')),
  CARGO_TARGET_DIR: path.join(scratch, 'target'),
  CARGO_PROFILE_RELEASE_LTO: 'off',
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
  CARGO_PROFILE_RELEASE_OPT_LEVEL: '0',
};
const repository = path.join(scratch, 'repositories/corral.git');

/** @type {import('node:http').Server} */
let server;
let url = '';
let commit = '';

/** @type {Awaited<ReturnType<typeof installManagers>>} */
let managers;
before(async () => {
  managers = await installManagers(path.join(scratch, 'managers'), env);
  await makeRepository();
  server = await serveRepositories(path.dirname(repository), env);
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  url = `git+http://127.0.0.1:${port}/corral.git`;
});
after(() => server.close());
before(() => {
  // It installs what is for corral's development, too, and asks for each package's own Node version.
  fs.writeFileSync(path.join(scratch, 'home/.yarnrc'), 'ignore-engines true\n');
});

/** What is in the checkout, committed or not, as the one commit of a repository. */
async function makeRepository() {
  const checkout = path.join(scratch, 'checkout');
  fs.mkdirSync(checkout);
  const git = (/** @type {string[]} */ ...args) => install.run(['git', ...args], { cwd: checkout, env });
  const listed = await install.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: install.root,
    env,
  });
  for (const name of listed.stdout
    .split('\0')
    .filter((name) => fs.existsSync(path.join(install.root, name)))) {
    if (name !== '') fs.cpSync(path.join(install.root, name), path.join(checkout, name));
  }
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '--all');
  await git('-c', 'user.name=test', '-c', 'user.email=test@localhost', 'commit', '--quiet', '-m', 'all');
  commit = (await git('rev-parse', 'HEAD')).stdout.trim();
  await git('clone', '--quiet', '--bare', checkout, repository);
  fs.rmSync(checkout, { recursive: true });
}

/** What these managers have to be told, as docs/deploying.md has it. @type {Record<string, () => Record<string, string>>} */
const SETTINGS = {
  pnpm: () => ({ 'pnpm-workspace.yaml': `allowBuilds:\n  corral@${url}#${commit}: true\n` }),
  'yarn-4': () => ({
    '.yarnrc.yml': 'nodeLinker: node-modules\napprovedGitRepositories: ["http://127.0.0.1:*/corral.git"]\n',
  }),
};

/** A deployment builds again: the lock file names the commit. */
for (const id of ['npm-10', 'npm-11', 'pnpm', 'yarn-1', 'yarn-4']) {
  test(id, async () => {
    const { add, deploy, command, files = {}, env: own } = managers[id];
    const options = { ...env, ...own };
    const developed = install.makeProject(path.join(scratch, id));
    const settings = { ...files, ...SETTINGS[id]?.() };
    for (const [name, text] of Object.entries(settings)) fs.writeFileSync(path.join(developed, name), text);
    await install.run(add(id === 'yarn-4' ? `corral@${url}` : url), { cwd: developed, env: options });

    const deployed = install.deploy(developed, path.join(scratch, `${id}-deployed`));
    fs.rmSync(developed, { recursive: true });
    await install.run(deploy, { cwd: deployed, env: options });
    await install.assertRunsNatively(deployed, { env: options, command });
  });
}
