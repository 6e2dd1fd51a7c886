"""Minimal pairs of sentences, hand-written: ``[right|wrong]`` marks where the two differ."""

import re

from .item import Item

_PAIRS = """
# subject_verb
The children [play|plays] in the garden after school.
My brother [works|work] in a small hospital.
The bread [smells|smell] of garlic and butter.
This train [stops|stop] at every village.
The twins [were|was] born in a taxi.
The museum [has|have] a new roof.
Two of my friends [live|lives] in Norway.
Both windows [were|was] open when we left.
Everybody [knows|know] the answer by now.
These shoes [hurt|hurts] my feet.
Each of the rooms [has|have] its own bath.
Sugar and butter [are|is] bad for your heart.
# distant_agreement
The keys to the cabinet [are|is] on the table.
The picture of the mountains [hangs|hang] in the hall.
The boys beside the fence [are|is] my cousins.
The letters from my uncle [were|was] hidden in a box.
The noise of the trucks [keeps|keep] me awake.
The women in the blue car [have|has] lost their way.
The songs on this old record [make|makes] me cry.
The stairs behind the kitchen [lead|leads] to the cellar.
The mother of the twins [teaches|teach] at our school.
The apples in the basket [look|looks] ripe.
The man who sold the horses [was|were] not honest.
The colour of her eyes [changes|change] with the weather.
# determiner_noun
She put [these|this] dirty old plates back on the shelf.
I have never seen [that|those] long French film before.
He repaired [those|that] rusty bicycles in an hour.
We planted [these|this] tall pear trees ourselves.
Please carry [those|that] folding chairs into the garden.
My aunt knitted [this|these] long woollen scarf.
Somebody has eaten [these|this] sweet black cherries.
Nobody believes [that|those] silly old story.
They sold [those|that] old paintings in Paris.
The fox came through [that|those] hole in the fence.
You should read [these|this] letters before you answer.
Did you hear [that|those] strange low noise?
# reflexive
The sister of the king hurt [herself|himself].
The girl who loved the prince drowned [herself|himself].
The boys in front of the mayor introduced [themselves|himself].
We enjoyed [ourselves|themselves] at the party.
The cat with the kittens washed [itself|themselves].
I asked [myself|yourself] the same question.
My father cut [himself|herself] while shaving.
The son of the two actors calls [himself|themselves] a poet.
The aunt of the boys bought [herself|themselves] a car.
The mother of the emperor poisoned [herself|himself].
My sister and I built the shed [ourselves|herself].
The widow who lived with the monks taught [herself|themselves] Latin.
# verb_form
She has [written|wrote] three books about birds.
They have already [gone|went] to bed.
I had never [seen|saw] so much snow.
He has [drunk|drank] all of the milk.
The bell had [rung|rang] twice before I woke.
My uncle has [driven|drove] a bus for years.
Somebody has [stolen|stole] my umbrella.
The boat [sank|sinked] in the harbour last night.
The letter was [hidden|hid] behind a brick.
The birds have [flown|flew] south for the winter.
All the roses have [grown|grew] tall this year.
Have you ever [ridden|rode] a camel?
# word_order
I do not know where [he is|is he].
She [always drinks|drinks always] tea in the morning.
We bought a [big red|red big] tent for the trip.
You can see how tired [the girl is|is the girl].
Tell me what [you want|do you want].
He gave [the dog a bone|a bone the dog].
She speaks [French very well|very well French].
Last night [the baby slept|slept the baby] for ten hours.
Please [turn it off|turn off it] before you go.
This cup is not [big enough|enough big] for me.
Where [did you find|you did find] that hat?
How [old are you|you are old] now?
# pronoun_case
The teacher asked [us|we] to be quiet.
[They|Them] invited me to the wedding.
[She|Her] plays the flute every evening.
Nobody told [them|they] about the accident.
[We|Us] are going home on Friday.
[He|Him] and his wife keep bees.
I bought a present for [her|she].
Between you and [me|I], the cake was awful.
[I|Me] would like a glass of water.
The judge did not believe [him|he].
Are [they|them] coming with us tonight?
Why does [she|her] never answer the phone?
# negative_polarity
[Nobody|Somebody] has ever climbed that wall.
[No|Some] student could find any mistake.
[Nothing|Something] could ever make him smile.
[Few|Many] people had ever heard of her.
She cannot swim, and I cannot [either|also].
[No man that the|The man that no] guests saw has ever smiled.
[No dog in the|The dog in no] yard has ever bitten anyone.
[No shop that these|The shop that no] people like has ever made any money.
[No actor that the|The actor that no] critics praise has any doubts.
[No one with|The one with no] friends has ever been lonely.
[No letter from his|The letter from no] brother has ever arrived.
[No town near the|The town near no] river has any bridges.
# quantity
There were [fewer|less] cars on the road today.
There is [less|fewer] water in the lake this year.
He does not have [much|many] time today.
She made very [few|little] mistakes.
We need a [little|few] salt for the soup.
A large [number|amount] of students came.
There was too [much|many] smoke in the room.
Each [child|children] in the photographs is smiling.
One of the [players|player] was tired.
Neither of the two [men|man] was waiting.
The farmer owns two hundred [geese|goose].
Most [trees|tree] lose their leaves in autumn.
# relative_clause
The man that the nurses like [is|are] leaving town.
The books that she gave the boys [were|was] about ships.
The farmer whose cows got out [was|were] very angry.
The cakes that our baker makes [taste|tastes] of lemon.
The bridge that the soldiers built [has|have] fallen down.
The people who own that shop [are|is] from Spain.
The lawyers that the king trusted [have|has] left him.
The woman who sells flowers [knows|know] everyone.
The birds that the cat watches [sit|sits] on the roof.
The boat that carries the tourists [leaves|leave] at noon.
The pupils who admire the painter [write|writes] to him.
The coat with the gold buttons [belongs|belong] to me.
"""

_MARK = re.compile(r"\[(.+)\|(.+)\]")


def items() -> list[Item]:
    """Return every pair, under the heading (phenomenon) that it stands below."""
    pairs: list[Item] = []
    phenomenon = ""
    for line in _PAIRS.strip().split("\n"):
        if line.startswith("# "):
            phenomenon = line.removeprefix("# ")
        else:
            pairs.append(Item(phenomenon, "", _MARK.sub(r"\1", line), (_MARK.sub(r"\2", line),)))
    return pairs
