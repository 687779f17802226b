import { Argument, type Command } from 'commander';
import { type Edge, type VerbOptions, verb } from '../verb.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** `brink completion bash`: verbs and options as the command line itself has them, so that nothing is listed twice by hand. */
export function addCompletion(program: Command, edge: Edge): void {
  const command = program
    .command('completion')
    .description('print what makes the shell complete verbs and options')
    .addArgument(new Argument('<shell>').choices(SHELLS));
  const example = [
    'source <(brink completion bash)',
    'brink completion zsh > ~/.zfunc/_brink',
    'brink completion fish > ~/.config/fish/completions/brink.fish',
  ];
  verb<VerbOptions>(edge, command, example, async ({ show }, _, shell = '') => {
    const text = WRITERS[shell as Shell](wordsOf(program));
    show({ shell, text }, text.split('\n'));
    return 0;
  });
}

/** A verb as it is typed, `devices add`, and what may follow: `name` is empty for `brink` itself. */
interface Words {
  readonly name: string;
  readonly verbs: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly { readonly name: string; readonly description: string }[];
}

function wordsOf(command: Command, name = ''): Words[] {
  const verbs = command.commands.map((one) => ({ name: one.name(), description: one.description() }));
  const options = command.options
    .filter(({ long }) => long !== null && long !== undefined)
    .map(({ long, description }) => ({ name: String(long), description }));
  const help = { name: '--help', description: 'what there is' };
  const below = command.commands.flatMap((one) => wordsOf(one, `${name} ${one.name()}`.trim()));
  return [{ name, verbs, options: [...options, help] }, ...below];
}

const wordList = ({ verbs, options }: Words) => [...verbs, ...options].map(({ name }) => name).join(' ');

/** One `case` over what was typed so far, options left out. */
function cases(all: readonly Words[]): string {
  return all.map((words) => `    '${words.name}') words='${wordList(words)}' ;;`).join('\n');
}

function bash(all: readonly Words[]): string {
  return `# brink completion bash
_brink() {
  local word at typed='' words=''
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    [[ $word == -* ]] || typed="$typed $word"
  done
  typed=\${typed# }
  # What follows a verb may be a name of the site: look at what is left of it.
  while :; do
    case $typed in
${cases(all)}
    esac
    [[ -n $words || -z $typed ]] && break
    [[ $typed == *' '* ]] && typed=\${typed% *} || typed=''
  done
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _brink brink`;
}

function zsh(all: readonly Words[]): string {
  return `#compdef brink
autoload -U +X bashcompinit && bashcompinit
${bash(all)}`;
}

const quoted = (text: string) => `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`;

function fish(all: readonly Words[]): string {
  const lines = all.flatMap(({ name, verbs, options }) => {
    const typed = name.split(' ').filter((word) => word !== '');
    const next = verbs.map((one) => one.name).join(' ');
    const seen = typed.map((word) => `__fish_seen_subcommand_from ${word}`);
    const notYet = next === '' ? [] : [`not __fish_seen_subcommand_from ${next}`];
    const when = (conditions: readonly string[]) =>
      conditions.length === 0 ? '' : ` -n ${quoted(conditions.join('; and '))}`;
    return [
      ...verbs.map(
        (one) => `complete -c brink -f${when([...seen, ...notYet])} -a ${one.name} -d ${quoted(one.description)}`,
      ),
      ...options.map((one) => `complete -c brink${when(seen)} -l ${one.name.slice(2)} -d ${quoted(one.description)}`),
    ];
  });
  return ['# brink completion fish', ...lines].join('\n');
}

const WRITERS: Readonly<Record<Shell, (all: readonly Words[]) => string>> = { bash, zsh, fish };
