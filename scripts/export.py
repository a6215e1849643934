# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a series as its maintainers want it: with its new files, a cover
letter, and nothing in it that means something in this project only."""

import re

import series
import series_apply
from core import StackError, git, rel


def without_trailers(message):
    return re.sub(rb'^Overlay: \S+\n', b'', message, flags=re.M)


def build_chain(upstream, repo):
    """The series on top of `base`, as it is sent; return the last commit.

    The commits are those that ./stack check --each-patch builds, with the
    same trees; their messages have lost the Overlay trailers.
    """
    tip = series_apply.build_chain(upstream, repo, series.patches_of(upstream))
    parent = git(repo, 'rev-parse', 'base^{commit}')
    for commit in series.commits_of(repo, tip):
        parent = series.commit_tree(repo, commit.tree, parent,
                                    without_trailers(commit.message),
                                    commit.env())
    return parent


def cover(upstream):
    """(subject, text) of the cover letter."""
    path = upstream.series_dir / 'cover.txt'
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise StackError(f'{upstream.title} has no cover letter: write '
                         f'{rel(path)}', 'a subject, an empty line, the text')
    subject, _, body = text.strip().partition('\n\n')
    return subject, body


def export(upstream, directory):
    """Write the series into the directory; return how many patches."""
    repo = upstream.repo
    work = series_apply.local_work(upstream, repo)
    if work:
        raise StackError(f'{rel(repo)} has work that is not in '
                         f'{rel(upstream.series_dir)}: ' + ', '.join(work[:6]),
                         f'./stack refresh{upstream.with_words} '
                         f'{upstream.name}')
    subject, body = cover(upstream)
    tip = build_chain(upstream, repo)
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob('[0-9][0-9][0-9][0-9]-*.patch'):
        old.unlink()
    # an upstream may say in which order it wants to read files
    order = 'scripts/git.orderfile'
    # the letter is from whoever committed the last patch, at its date
    names = git(repo, 'format-patch', '--cover-letter', '--numbered',
                '--no-signature', '--stat=72', '-M',
                *([f'-O{order}'] if (repo / order).exists() else []),
                '-o', directory.resolve(), f'base..{tip}',
                env=series.Commit(repo, tip).env()).splitlines()
    letter = directory / '0000-cover-letter.patch'
    letter.write_text(letter.read_text()
                      .replace('*** SUBJECT HERE ***', subject)
                      .replace('*** BLURB HERE ***', body))
    return len(names) - 1
