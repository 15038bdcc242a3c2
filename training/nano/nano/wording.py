"""The ways in which each question may be asked. {n} is a name, {p} its plural, {a} with article."""

WHERE = [
    "Where is the <|ref|>{n}<|/ref|>?", "Where is the <|ref|>{n}<|/ref|>?", "Where is the {n}?",
    "Where is the {n}?", "<|ref|>{n}<|/ref|>", "Find the {n}.", "Find the <|ref|>{n}<|/ref|>.",
    "Locate the <|ref|>{n}<|/ref|>.", "Locate the {n}.", "Point to the {n}.",
    "Where is the {n} in this picture?", "Where is the {n} in the image?", "Where can you see the {n}?",
    "Show me the {n}.", "Detect the <|ref|>{n}<|/ref|>.", "Give the box of the {n}.",
    "<|ref|>The {n}.<|/ref|>", "Can you find the {n}?", "Find {a}.", "Where's the {n}?",
]
WHERE_ALL = [
    "Where are the <|ref|>{p}<|/ref|>?", "Where are the {p}?", "Find all <|ref|>{p}<|/ref|>.",
    "Find all the {p}.", "Locate the {p}.", "Locate all {p}.", "Where are all the {p}?",
    "Detect all {p}.", "<|ref|>{p}<|/ref|>",
]
ABSENT = "There is no {n} in the picture."
ABSENT_ALL = "There are no {p} in the picture."
GROUNDED = [
    "<|grounding|>Describe this picture.", "<|grounding|>Describe the picture.",
    "<|grounding|>Describe this image.", "<|grounding|>What is in this picture?",
    "<|grounding|>What can you see?", "<|grounding|>List the objects.",
    "<|grounding|>Can you describe the image?", "<|grounding|>Describe the image in detail.",
    "<|grounding|>Can you describe the content of the image?",
]
NAMING = [
    "What is in this picture?", "What is in the picture?", "What is in the image?",
    "What do you see?", "What can you see in this picture?", "Describe this picture.",
    "Describe the image.", "What objects are in this picture?", "List the objects.",
    "Which objects are there?", "What is this?", "What does the picture show?",
    "Name the objects.", "Name everything in the picture.", "Describe this image in detail.",
]
NAMING_ONE = ["What is this?", "What is it?", "What object is this?", "Name the object.",
              "Which object is in the picture?", "What is shown here?"]
COUNT = [
    "How many {p} are there?", "How many {p} are in the picture?", "Count the {p}.",
    "How many {p} do you see?", "How many {p} are in this image?", "How many {p}?",
    "What is the number of {p}?", "How many {p} can you see?",
]
COUNT_ALL = ["How many objects are there?", "How many objects are in the picture?",
             "Count the objects.", "How many things are there?"]
PRESENT = ["Is there {a} in the picture?", "Is there {a}?", "Do you see {a}?", "Can you see {a}?",
           "Is there {a} in this image?"]
COLOUR = [
    "What colour is the {n}?", "What color is the {n}?", "What is the colour of the {n}?",
    "What is the color of the {n}?", "Which colour is the {n}?", "Which color does the {n} have?",
    "What colour does the {n} have?", "Tell me the colour of the {n}.",
]
SIDES = {"left": ["left of", "to the left of"], "right": ["right of", "to the right of"],
         "above": ["above", "over", "higher than"], "below": ["below", "under", "lower than"]}
RELATION = ["Is the {n} {side} the {other}?", "Is the {n} {side} the {other} in the picture?"]
CHOICE_ACROSS = ["Is the {n} left or right of the {other}?",
                 "Is the {n} to the left or to the right of the {other}?",
                 "On which side of the {other} is the {n}?"]
CHOICE_DOWN = ["Is the {n} above or below the {other}?"]
FURTHEST = {
    "left": ["Which object is furthest left?", "What is on the far left?",
             "What is the leftmost object?"],
    "right": ["Which object is furthest right?", "What is on the far right?",
              "What is the rightmost object?"],
    "above": ["Which object is at the top?", "What is the topmost object?",
              "Which object is highest?"],
    "below": ["Which object is at the bottom?", "What is the lowest object?",
              "Which object is lowest?"],
}
READ = [
    "Read the text.", "What does the text say?", "What is written here?", "Read this.",
    "What text is in the picture?", "What is written in the picture?", "Read the line of text.",
    "What does it say?", "Read the text in the image.", "Transcribe the text.",
]
CELL = [
    "What is the value of {column} for {row}?", "What is the {column} of {row}?",
    "What is in row {row}, column {column}?", "Read the cell in row {row} and column {column}.",
    "What number is in row {row} and column {column}?", "Which value has {row} in {column}?",
]
BAR = [
    "What is the value of {row}?", "How high is the bar {row}?", "What is the value of the bar {row}?",
    "What value does {row} have?", "How tall is the {row} bar?", "Read the value of {row}.",
]
BAR_MOST = ["Which bar is the highest?", "Which bar is the tallest?", "Which has the largest value?"]
BAR_LEAST = ["Which bar is the lowest?", "Which bar is the shortest?", "Which has the smallest value?"]
WHICH_PICTURE = [
    "Which picture has {a}?", "Which picture has the {n}?", "Which image has the {n}?",
    "In which picture is the {n}?", "Which picture shows {a}?", "Which image contains {a}?",
    "Which of the pictures has the {n}?", "Where is the {n}, in which picture?",
]
IN_PICTURE = ["What is in the {ordinal} picture?", "What does the {ordinal} image show?",
              "What is in picture {number}?"]
CHANGED = [
    "What changed?", "What has changed?", "What is different?", "What changed between the pictures?",
    "What is the difference?", "What is the difference between the two pictures?",
    "Compare the two pictures.", "What changed from the first to the second picture?",
]
IMAGE_LAYOUTS = {
    1: ["<image>\n{q}", "<image>\n{q}", "<image>{q}", "<image> {q}", "{q}\n<image>"],
    2: ["<image>\n<image>\n{q}", "<image><image>\n{q}",
        "This is the first picture: <image>\nThis is the second picture: <image>\n{q}",
        "Picture 1: <image>\nPicture 2: <image>\n{q}", "Image 1: <image>\nImage 2: <image>\n{q}",
        "First: <image>\nSecond: <image>\n{q}", "<image>\n{q}\n<image>"],
    3: ["<image>\n<image>\n<image>\n{q}", "<image><image><image>\n{q}",
        "This is image_1: <image>\nThis is image_2: <image>\nThis is image_3: <image>\n{q}",
        "Picture 1: <image>\nPicture 2: <image>\nPicture 3: <image>\n{q}",
        "First: <image>\nSecond: <image>\nThird: <image>\n{q}"],
}
OPENERS = [""] * 16 + ["Please tell me: ", "Hello! ", "Look at the picture. ",
           "Please answer: ", "Question: "]
NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
ORDINALS = ["first", "second", "third"]
# Words that a user may well type: they get tokens of their own.
EXTRA_WORDS = (
    "please could would you tell show give me us find detect bounding box boxes coordinates image "
    "picture photo object objects item items thing things number count many much any some every "
    "where which what who how when is are was were be in on at of to from with and or not no yes "
    "position location located relative beside near next behind between under over top bottom side "
    "colour color shape big small large little animal animals fruit letter letters word words digits "
    "line table chart bar graph cell row column value highest lowest first second third one two three"
)
# Row and column titles of tables and names of bars.
LABELS = (
    "Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec "
    "Anna Ben Carl Dora Emma Finn Greta Hugo Ida Jonas Lena Max Nora Oskar Paul Rosa Tom Vera "
    "Alice Bob Eve Tea Coffee Milk Bread Rice Salt Sugar Corn Beans Fruit Apples Pears Plums "
    "North South East West Red Blue Green Black White Gold Rain Snow Wind Cars Bikes Trains Boats "
    "Price Stock Sales Cost Size Weight Age Score Points Units Total Year Rate Count Height "
    "A B C D E F G H Q1 Q2 Q3 Q4"
).split()
