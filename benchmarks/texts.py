"""The texts that the servers are sent: made-up reviews of films, of as many words as are wanted.

The sentences are the project's own. Names, places and numbers are drawn into them, so that a long text does not say the
same twice and a tokenizer meets common words and rare ones.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

GOOD: Final = (
    "I went in with no expectations and came out with a smile that lasted all the way home.",
    "{name} gives the performance of a lifetime, and the camera knows it.",
    "The dialogue crackles; every line sounds like something a real person would say.",
    "It is funny, it is sad, and it earns both.",
    "I have seen it {number} times now and it still surprises me.",
    "The photography of {place} alone is worth the price of a ticket.",
    "What a wonderful, generous, big-hearted film!",
    "{name} and {name} have the kind of chemistry that cannot be faked.",
    "Not a minute is wasted, and the last {number} of them left the whole audience in tears.",
    "Highly recommended to anyone who still believes in good old-fashioned storytelling.",
    "The score by {name} is gorgeous and never tells you what to feel.",
    "Easily the best {genre} of the decade.",
    "My {person}, who hates everything, loved it.",
    "Clever without being smug, moving without being sentimental.",
    "I couldn't look away for a second.",
    "A masterpiece, and I don't use that word lightly.",
    "It's beautifully written, superbly acted and directed with real confidence.",
    "You'll laugh, you'll gasp, and you'll want to see it again.",
)
BAD: Final = (
    "I want those {number} minutes of my life back.",
    "The plot makes no sense, and nobody on the screen seems to care.",
    "{name} sleepwalks through the part as if reading from a cue card.",
    "Every joke falls flat, and there are a lot of jokes.",
    "The effects look like something from a cheap game of {year}.",
    "It isn't scary, it isn't funny, it isn't even so bad that it's good.",
    "Who on earth gave {name} the money for this?",
    "My {person} fell asleep after {number} minutes, and I envied every snore.",
    "The worst {genre} I have ever had the misfortune to sit through.",
    "Terrible script, wooden acting, and an ending that insults your intelligence.",
    "What a dull, lazy, pointless waste of talent.",
    "Save your money and watch paint dry instead.",
    "The sound is awful and half of it was shot in the dark.",
    "It drags, and drags, and then it just stops.",
    "Don't believe the hype: this is a mess.",
    "I've seen better acting in a commercial for toothpaste.",
    "Avoid at all costs!",
    "The characters are so annoying that I was rooting for the monster.",
)
PLAIN: Final = (
    "The story takes place in {place} in the summer of {year}.",
    "{name} plays a {job} who comes back to {place} after {number} years.",
    "It was directed by {name}, who also made a {genre} about a {job} in {year}.",
    "I saw this at a festival in {place} with my {person}.",
    "There's a subplot about a {job} and a stolen letter, which takes up most of the second act.",
    "The film runs for {number} minutes, and there is a short scene after the credits.",
    "Halfway through, the {job} finds out that the {person} has been lying about {place}.",
    "It is based on the novel by {name}, which I haven't read.",
    "Some of it was shot on location, and the rest in a studio near {place}.",
    "<br /><br />Now, about the cast.",
    "The first half is a {genre}; the second is closer to a {genre}.",
    "{name} has a small part as the {job}'s {person}.",
    "I rented it because {name} (of all people!) was on the cover.",
    "Then the {person} dies, the {job} leaves for {place}, and we are somewhere else entirely.",
    "As you may know, the original from {year} had a different ending.",
    "It's rated 7.8/10 here, so I was curious.",
)
WORDS: Final[Mapping[str, Sequence[str]]] = {
    "name": (
        *("Ada Lindqvist", "Tomás Herrera", "Joan Whitcombe", "Rajiv Menon", "Bettina Krause", "Oliver Strand"),
        *("Mei-Ling Zhou", "Declan O'Rourke", "Ingrid Halvorsen", "Paulo Teixeira", "Ruth Abernathy", "Kenji Morita"),
        *("Simone Leclerc", "Walter Pritchard", "Zuzana Novák", "Amara Okonkwo", "Lucian Petrescu", "Hattie Boone"),
    ),
    "place": (
        *("Lisbon", "rural Kansas", "the Scottish Highlands", "Buenos Aires", "a small town in Vermont", "Kraków"),
        *("Hong Kong", "the outskirts of Naples", "post-war Berlin", "a space station", "Yorkshire", "New Orleans"),
    ),
    "job": (
        *("detective", "piano teacher", "lighthouse keeper", "boxer", "nun", "smuggler", "widow", "taxi driver"),
        *("schoolteacher", "vampire", "ballerina", "journalist", "forger", "veterinarian", "sheriff", "stuntman"),
    ),
    "genre": (
        *("thriller", "western", "romantic comedy", "horror movie", "musical", "documentary", "heist film"),
        *("melodrama", "slasher", "courtroom drama", "science-fiction epic", "farce", "biopic"),
    ),
    "person": ("wife", "husband", "brother", "grandmother", "best friend", "daughter", "neighbour", "boss", "uncle"),
    "number": tuple(str(number) for number in (3, 4, 7, 9, 12, 15, 20, 27, 45, 81, 90, 96, 104, 118, 137)),
    "year": tuple(str(year) for year in range(1931, 2008, 4)),
}

_SLOT: Final = re.compile(r"\{(\w+)\}")


def make_text(words: int, draw: random.Random) -> str:
    """A review of ``words`` words, that mostly praises or mostly blames; its last sentence may be cut off."""
    praised = draw.random() < 0.5
    text: list[str] = []
    sentences = _draw_sentences(GOOD if praised else BAD, BAD if praised else GOOD, draw)
    while len(text) < words:
        text += next(sentences).split()
    return " ".join(text[:words])


def _draw_sentences(mood: Sequence[str], other: Sequence[str], draw: random.Random) -> Iterator[str]:
    """Sentences without an end: half of them of the mood, a few against it, and the rest plain."""
    while True:
        (pool,) = draw.choices((mood, other, PLAIN), weights=(5, 1, 4))
        yield _SLOT.sub(lambda slot: draw.choice(WORDS[slot[1]]), draw.choice(pool))
